"""OpenAI's dialect (`/v1/*`): what its SDKs send and expect, field by field.

Requests are read strictly: a field or value this server does not offer is refused by name, never ignored. JSON null
counts as not given.
"""

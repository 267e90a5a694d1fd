"""Ollama's dialect (`/api/*`): what its clients send and expect, field by field.

Requests are read leniently, as Ollama does: unknown fields and options are ignored, `null` means not given, `stream`
is true when absent. Replies leave out what is empty instead of sending `null`.
"""

"""Pure translation between bytes and types: no Flask, torch, clock or I/O.

A dialect decodes a parsed body into a `GenerationRequest` and encodes `Event`s into the objects its clients expect;
`ndjson` and `sse` put such objects on the wire.
"""

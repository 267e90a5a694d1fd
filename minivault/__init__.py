"""MiniVault: a private, offline LLM endpoint that keeps the evidence."""

__version__ = "0.1.0"

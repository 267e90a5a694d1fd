"""Whom a command asks: a server over HTTP or a model loaded here, both in the native dialect's objects."""

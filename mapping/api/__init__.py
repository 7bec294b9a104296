"""The HTTP API of mapping."""

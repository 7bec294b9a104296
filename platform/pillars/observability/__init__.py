"""Logs, metrics and request ids. Everything that leaves here is metadata by construction."""

"""Tests of the mapping engine. They need neither Django nor a server."""

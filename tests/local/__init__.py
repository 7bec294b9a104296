"""Tests of the local stack (package deploy.local)."""

"""Tests of the governance of the knowledge."""

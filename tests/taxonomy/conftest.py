"""A copy of the shipped knowledge that a test may spoil."""

from tests.support.knowledge import edit, folder

__all__ = ["edit", "folder"]

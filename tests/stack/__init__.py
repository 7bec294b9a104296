"""The whole stack while its parts fail."""

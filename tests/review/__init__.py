"""The review queue: counting, deciding, pages."""

"""How dates and times are written on pages: as ISO 8601 does, which nobody reads two ways."""

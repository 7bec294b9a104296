"""`make bench`: how fast /map and /map/batch are, beside what this machine's PostgreSQL can commit."""

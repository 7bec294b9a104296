"""`make bench`: the speed of /map and /map/batch, beside what this PostgreSQL can commit."""

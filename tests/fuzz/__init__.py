"""Fuzzing of /map: every golden and example output, changed in every way that hostile input has."""

"""Data sets, training, evaluation and the registry of mapping models.

Empty so far: Pillars maps with rules alone (`mapping.mode: rules_only`). What trains and promotes
models goes here; what serves and asks them goes into mapping.
"""

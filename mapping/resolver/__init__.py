"""Maps labels that no rule knows: retrieve, choose, calibrate, settle. Plain Python, no Django.

Each stage is a module of its own with a typed interface; `types` holds what passes between them.
"""

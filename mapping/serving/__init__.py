"""Which version of the model answers whom: the live one, and one on trial beside it.

The choices are numbered rows in the public schema (services), read by every process within two
seconds (in_force). Nothing here trains or approves a version: that is training's registry, which
calls these verbs once a version may be served and its adapter is loaded (deploy).
"""

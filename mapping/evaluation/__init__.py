"""Measures how well the labels of detectors that nobody has mapped yet are mapped.

Plain Python, no Django. The protocol and the definition of every figure: docs/quality.md.
"""

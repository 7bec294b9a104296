"""Data sets, training and calibration of the mapping models.

`encoder` finds canonical labels, `lora` chooses among them, `calibration` makes probabilities of
what both say. Each is a command line of its own: ``python -m training.encoder --help``.
"""

"""Tunes the sentence encoder that finds canonical labels for labels of unknown detectors.

``python -m training.encoder --help`` lists the steps: data, folds, final, export. Plain Python;
torch and transformers come with the extra ``model``.
"""

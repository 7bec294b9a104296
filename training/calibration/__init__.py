"""Fits the calibrator on the answers of models to labels of detectors that they had not seen."""

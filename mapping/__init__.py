"""Detections: the mapping engine, the API that receives raw outputs, and the stored events."""

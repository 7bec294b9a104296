"""The mapping engine: plain Python, no Django, no I/O.

``Knowledge`` is what the engine knows (taxonomy, detector files, frameworks, crosswalks);
``Engine.map`` turns one raw detector output into canonical labels with their evidence.
"""

from mapping.engine.decisions import DecidedLabel, Decisions
from mapping.engine.engine import Engine
from mapping.engine.knowledge import Knowledge
from mapping.engine.labels import recordable_label, recordable_ref
from mapping.engine.thresholds import Layer, Thresholds
from mapping.engine.types import (
    DetectorOutput,
    Finding,
    KnowledgeError,
    MappingResult,
    VersionInfo,
)

__all__ = [
    "DecidedLabel",
    "Decisions",
    "DetectorOutput",
    "Engine",
    "Finding",
    "Knowledge",
    "KnowledgeError",
    "Layer",
    "MappingResult",
    "Thresholds",
    "VersionInfo",
    "recordable_label",
    "recordable_ref",
]

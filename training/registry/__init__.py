"""Versions of models as files: packed once, checked whenever they are read, never changed.

A version is a folder (`package`) that is named by its version (`names`), kept on disk or in S3
(`storage`), let through by gates (`gates`) and put on a server (`deploy`). Plain Python: no Django.
"""

from training.registry.errors import CorruptError, ExistsError, RegistryError
from training.registry.names import ModelName, next_version
from training.registry.package import Base, Ingredients, ModelPackage, build, read

__all__ = [
    "Base",
    "CorruptError",
    "ExistsError",
    "Ingredients",
    "ModelName",
    "ModelPackage",
    "RegistryError",
    "build",
    "next_version",
    "read",
]

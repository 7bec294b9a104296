"""The typed configuration: `pillars.yaml`, environment variables over it, defaults under it."""

from pillars.config.loader import ConfigError, LoadedConfig, Origin, load_config
from pillars.config.schema import PillarsConfig

__all__ = ["ConfigError", "LoadedConfig", "Origin", "PillarsConfig", "load_config"]

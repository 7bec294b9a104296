"""Reads `pillars.yaml`, lays environment variables over it and says where each value came from."""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from pillars.config.schema import PillarsConfig

ENV_PREFIX = "PILLARS__"
# Names that operators know already, for values that are nearly always set from outside.
WELL_KNOWN_ENV = {
    "DATABASE_URL": ("services", "database_url"),
    "REDIS_URL": ("services", "redis_url"),
    "PILLARS_SECRET_KEY": ("services", "secret_key"),
    "PILLARS_PORT": ("server", "port"),
    "PILLARS_METRICS_TOKEN": ("server", "metrics_token"),
}

KeyPath = tuple[str, ...]


class ConfigError(Exception):
    """The configuration cannot be used. The message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `default`, `environment NAME` or `file:line`."""

    text: str


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The checked configuration and the origin of each value, by dotted path."""

    values: PillarsConfig
    origins: Mapping[str, Origin]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(dotted path, value with secrets masked, origin) for every value."""
        for path, value in _leaves(self.values, ()):
            dotted = ".".join(path)
            shown = str(value) if isinstance(value, SecretStr) else repr(value)
            yield dotted, shown, self.origins.get(dotted, Origin("default")).text


def load_config(path: Path | None, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    """Load and check the configuration.

    `path` may be None (defaults and environment alone). Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    document: dict[str, Any] = {}
    lines: dict[KeyPath, int] = {}
    if path is not None:
        document, lines = _read_yaml(path)
    origins = {".".join(key): Origin(f"{path}:{line}") for key, line in lines.items()}
    for name, key, value in _environment_values(environ):
        _assign(document, key, value, name)
        origins[".".join(key)] = Origin(f"environment {name}")
    try:
        values = PillarsConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins, lines, path)) from None
    return LoadedConfig(values=values, origins=origins)


def _leaves(model: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file. Create it or point PILLARS_CONFIG at another one."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}).") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{where}: {problem}. Check indentation and quotes.") from None
    if document is None:
        return {}, {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}:1: expected sections such as `limits:`, found a single value.")
    lines: dict[KeyPath, int] = {}
    _collect_lines(node, (), lines, path)
    return document, lines


def _collect_lines(
    node: yaml.Node | None, path: KeyPath, lines: dict[KeyPath, int], file: Path
) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key = (*path, str(key_node.value))
        line = key_node.start_mark.line + 1
        if key in lines:
            raise ConfigError(
                f"{file}:{line}: `{'.'.join(key)}` is set twice (first on line {lines[key]}). "
                "Remove one of the two."
            )
        lines[key] = line
        _collect_lines(value_node, key, lines, file)


def _environment_values(environ: Mapping[str, str]) -> Iterator[tuple[str, KeyPath, Any]]:
    for name, path in WELL_KNOWN_ENV.items():
        if environ.get(name):
            yield name, path, _parse_env(environ[name], path)
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX):
            key = tuple(part.lower() for part in name[len(ENV_PREFIX) :].split("__"))
            yield name, key, _parse_env(environ[name], key)


def _parse_env(text: str, key: KeyPath) -> Any:
    """Text of an environment variable as YAML, except where the field is a string anyway."""
    section = PillarsConfig.model_fields.get(key[0])
    annotation = None
    if section is not None and len(key) == 2:
        model = section.annotation
        if (
            isinstance(model, type)
            and issubclass(model, BaseModel)
            and key[1] in model.model_fields
        ):
            annotation = model.model_fields[key[1]].annotation
    if annotation in (str, SecretStr) or annotation == SecretStr | None:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _assign(document: dict[str, Any], key: KeyPath, value: Any, name: str) -> None:
    target = document
    for part in key[:-1]:
        child = target.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"environment {name}: `{part}` is a value, not a section.")
        target = child
    target[key[-1]] = value


def _explain(
    error: ValidationError,
    origins: Mapping[str, Origin],
    lines: Mapping[KeyPath, int],
    path: Path | None,
) -> str:
    return "\n".join(_explain_one(item, origins, lines, path) for item in error.errors())


def _explain_one(
    item: Any, origins: Mapping[str, Origin], lines: Mapping[KeyPath, int], path: Path | None
) -> str:
    key = tuple(str(part) for part in item["loc"])
    dotted = ".".join(key)
    where = _where(key, origins) or str(path or "environment")
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key `{dotted}`. {_suggest(key)}"
    if item["type"] == "model_type":
        return f"{where}: `{dotted}` is a section: put keys under it, or remove it. {_inside(key)}"
    if item["type"] == "value_error":
        return f"{where}: {item['ctx']['error']}"
    return f"{where}: `{dotted}`: {item['msg']}. {_describe(key)}".rstrip()


def _where(key: KeyPath, origins: Mapping[str, Origin]) -> str | None:
    """Where a key was set: itself, the section around it, or something inside of it."""
    for length in range(len(key), 0, -1):
        origin = origins.get(".".join(key[:length]))
        if origin is not None:
            return origin.text
    inside = f"{'.'.join(key)}."
    return next((o.text for name, o in origins.items() if name.startswith(inside)), None)


def _fields_at(key: KeyPath) -> dict[str, Any]:
    model: Any = PillarsConfig
    for part in key:
        field = model.model_fields.get(part)
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return {}
    return dict(model.model_fields)


def _suggest(key: KeyPath) -> str:
    known = _fields_at(key[:-1])
    close = difflib.get_close_matches(key[-1], known, n=1)
    if close:
        return f"Did you mean `{'.'.join((*key[:-1], close[0]))}`?"
    if known:
        return f"Known keys here: {', '.join(sorted(known))}."
    return "Remove it."


def _inside(key: KeyPath) -> str:
    return f"Known keys: {', '.join(sorted(_fields_at(key)))}."


def _describe(key: KeyPath) -> str:
    field = _fields_at(key[:-1]).get(key[-1])
    return f"It means: {field.description}." if field is not None and field.description else ""

"""Structured JSON logs that can hold metadata alone.

Privacy here does not rest on care. A record passes an allow-list of field names; a value passes
only if it is a number, a boolean, or a short string without white space; the event's name must be
a plain identifier. What other libraries log is reduced to logger, level, place in the code and
the type of an exception: never its message, never its arguments, because those can quote the
input that caused it. What Python itself would print (uncaught exceptions, warnings) goes the same
way once a service process has called `guard_process`.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import orjson
import structlog

ALLOWED_FIELDS = frozenset(
    {
        "api_key_id", "attempt", "code", "count", "decision", "detector", "duration_ms",
        "error_type", "event", "event_id", "framework", "frames", "items", "label", "level",
        "limit", "line", "logger", "method", "module", "part", "process", "queue", "report_id",
        "request_id", "route", "schema_version", "serial", "state", "status", "task", "task_id",
        "tenant", "tenant_id", "timestamp", "version",
    }
)  # fmt: skip
_TOKEN = re.compile(r"^/?[A-Za-z0-9][A-Za-z0-9_.:/@+<>{}\-]{0,119}$")
_EVENT = re.compile(r"^[a-z][a-z0-9_.]{0,63}$")
_MAX_FRAMES = 12
_LARGEST_NUMBER = 2**53  # what JSON readers keep exactly
# What structlog's ProcessorFormatter adds, and takes away again before anything is written.
_FORMATTERS_OWN = frozenset({"_record", "_from_structlog"})


class _Frames(list[str]):
    """Places in the code. A list by this type alone passes: nobody else can name a field so."""


class MetadataHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes records without ever asking a library's record for its message."""

    def format(self, record: logging.LogRecord) -> str:
        """A line of JSON. Message and arguments of foreign records are taken away unread."""
        if not hasattr(record, "_from_structlog") and not hasattr(record, "_logger"):
            record = logging.makeLogRecord(record.__dict__)
            record.msg, record.args = "", ()
        return super().format(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A record that cannot be written is lost; the default would print it in full."""


def keep_metadata(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: drop every field and value that is not plainly metadata."""
    kept: dict[str, Any] = {}
    dropped = 0
    for key, value in event_dict.items():
        own = key in _FORMATTERS_OWN or isinstance(value, _Frames)
        if own or (key in ALLOWED_FIELDS and _is_metadata(key, value)):
            kept[key] = value
        elif value is not None and key not in ("exc_info", "stack_info", "positional_args"):
            dropped += 1
    if "event" not in kept:
        kept["event"] = "unnamed"
    if dropped:
        kept["dropped_fields"] = dropped
    return kept


def _is_metadata(key: str, value: Any) -> bool:
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST_NUMBER
    if not isinstance(value, str):
        return False
    return bool((_EVENT if key == "event" else _TOKEN).fullmatch(value))


def describe_exception(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: replace an exception by its type and the places it passed through."""
    exc_info = event_dict.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    elif isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    if isinstance(exc_info, tuple) and exc_info[0] is not None:
        event_dict["error_type"] = exc_info[0].__qualname__
        event_dict["frames"] = _Frames(
            f"{frame.filename.rsplit('site-packages/', 1)[-1]}:{frame.lineno}:{frame.name}"
            for frame in traceback.extract_tb(exc_info[2], limit=-_MAX_FRAMES)
        )
    return event_dict


def reduce_foreign(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor for records of other libraries: where it was said, not what."""
    record: logging.LogRecord | None = event_dict.get("_record")
    reduced: dict[str, Any] = {k: v for k, v in event_dict.items() if k != "event"}
    reduced["event"] = "library_log"
    if record is not None:
        reduced["module"] = record.module
        reduced["line"] = record.lineno
    return reduced


def _to_json(_logger: Any, _method: str, event_dict: Mapping[str, Any]) -> str:
    return orjson.dumps(event_dict, default=str, option=orjson.OPT_SORT_KEYS).decode()


def logging_config(level: str) -> dict[str, Any]:
    """A dictConfig for the standard library's logging; also sets structlog up."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*shared, reduce_foreign],
                "processors": [
                    keep_metadata,
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _to_json,
                ],
            }
        },
        "handlers": {"stdout": {"()": MetadataHandler, "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # Django adds handlers of its own, which print messages in full: take them away.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # One line per request is written by RequestMiddleware, with the route's template.
            "django.request": {"handlers": [], "level": "CRITICAL", "propagate": True},
            "django.security": {"handlers": [], "level": "CRITICAL", "propagate": True},
            "celery": {"handlers": [], "level": level, "propagate": True},
            # One line per task is written by pillars.celery, with its name and state.
            "celery.app.trace": {"handlers": [], "level": "WARNING", "propagate": True},
            "celery.beat": {"handlers": [], "level": "WARNING", "propagate": True},
            "celery.worker.strategy": {"handlers": [], "level": "WARNING", "propagate": True},
            # They say something of every call of the language model, at DEBUG with its headers.
            "httpx2": {"handlers": [], "level": "WARNING", "propagate": True},
            "httpcore2": {"handlers": [], "level": "WARNING", "propagate": True},
            # Granian's own handlers would print the traceback of what the application raised.
            "_granian": {"handlers": [], "level": level, "propagate": True},
            "granian.access": {"handlers": [], "level": level, "propagate": True},
        },
    }


def guard_process() -> None:
    """Log what Python would print with its message: uncaught exceptions, warnings.

    For service processes (web, worker, beat): their output is a log file.
    """
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    logging.captureWarnings(True)


def _uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        structlog.get_logger("pillars").error("uncaught_exception", exc_info=(kind, error, trace))

"""Logs hold metadata by construction: whatever is said to whichever logger, no secret comes out."""

import io
import json
import logging
import logging.config
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pillars.observability import logging as ours
from pillars.observability.logging import ALLOWED_FIELDS, MetadataHandler, logging_config

SECRETS = (
    "John Smith lives at 12 Elm Street",
    "john.smith@example.com",
    "078-05-1120",
    "4111 1111 1111 1111",
    "sk-proj-abcdefghijklmnop0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "+1 555 010 9999",
    "Zoë Müller hat angerufen",
    "line one\nline two",
)


class Output:
    """What the service's handler has written, as text and as records."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def _alone() -> Iterator[None]:
    """Without pytest's own handlers, which it adds to each test and which are stricter."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.contextvars.clear_contextvars()
    logging.config.dictConfig(logging_config("INFO"))
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def configure(_alone: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Output]:
    """configure(level): the logging of the service, with all its output caught."""

    def begin(level: str) -> Output:
        captured = Output()
        monkeypatch.setattr(sys, "stdout", captured.stream)
        monkeypatch.setattr(sys, "stderr", captured.stream)
        config = logging_config(level)
        config["handlers"]["stdout"]["stream"] = captured.stream
        logging.config.dictConfig(config)
        return captured

    return begin


def fail_with(secret: str) -> None:
    local_with_secret = secret
    raise ValueError(f"cannot read {local_with_secret}")


def say_everything(secret: str) -> None:
    """Every way of saying something to a logger of ours and of a library."""
    log = structlog.get_logger("pillars.test")
    log.info(secret)
    log.info("event", unknown_field=secret, api_key=secret, _private=secret, frames=[secret])
    log.info("event", label=secret + " ", detector=[secret], tenant={"a": secret})
    log.info("event", **{secret: 1})
    log.warning("an %s event", secret)
    log.bind(body=secret).error("bound")
    structlog.contextvars.bind_contextvars(body=secret, request_id=secret + " ")
    log.info("context")
    library = logging.getLogger("somebody.else")
    library.error(secret)
    library.error("said %s", secret)
    library.error("said %(it)s", {"it": secret})
    library.error("said", extra={"payload": secret, "request": secret, "label": [secret]})
    library.error("wrong number of arguments %s %s", secret)
    library.error("wrong type %d", secret)
    library.error(ValueError(secret))
    library.error({"event": secret, "label": secret + " "})
    library.warning("stack of %s", secret, stack_info=True)
    for logger in (log, library):
        try:
            fail_with(secret)
        except ValueError as error:
            logger.exception(secret)
            logger.error("failed", exc_info=error)
            try:
                raise RuntimeError(secret) from error
            except RuntimeError:
                logger.exception("chained")
    for name in ("django.request", "django.server", "celery.app.trace", "py.warnings", "granian"):
        logging.getLogger(name).error("%s", secret)


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_that_was_said_comes_out(configure: Callable[[str], Output], secret: str) -> None:
    output = configure("DEBUG")
    say_everything(secret)
    for part in {secret, *secret.split("\n"), json.dumps(secret)[1:-1]}:
        assert part not in output.text
    assert len(output.records) >= 25


def as_written(record: logging.LogRecord) -> dict[str, Any]:
    handler = MetadataHandler()
    spec = logging_config("INFO")["formatters"]["json"]
    handler.setFormatter(
        spec["()"](foreign_pre_chain=spec["foreign_pre_chain"], processors=spec["processors"])
    )
    written: dict[str, Any] = json.loads(handler.format(record))
    return written


@given(secret=st.text(min_size=3), number=st.integers(), level=st.sampled_from([10, 30, 50]))
def test_whatever_a_library_says(secret: str, number: int, level: int) -> None:
    secret = f" {secret} {number}"
    for message, arguments in ((secret, ()), ("%s", (secret,)), ("%d %s", (secret, secret))):
        record = logging.LogRecord("lib", level, "lib.py", 1, message, arguments, None)
        record.__dict__.update({"label": secret, secret: secret})
        written = as_written(record)
        assert written.pop("timestamp")
        assert written == {
            "event": "library_log",
            "level": record.levelname.lower(),
            "logger": "lib",
            "line": 1,
            "module": "lib",
        }


@given(secret=st.text(min_size=3), number=st.integers())
def test_whatever_we_say(secret: str, number: int) -> None:
    secret = f" {secret} {number}"
    fields = {
        secret: secret, f"_{secret}": secret, "event": secret, "label": secret,
        "frames": [secret], "tenant": {"a": secret}, "count": number,
    }  # fmt: skip
    kept = ours.keep_metadata(None, "info", fields)
    written = json.loads(ours._to_json(None, "info", kept))
    assert set(written) <= {"event", "count", "dropped_fields"}
    assert written["event"] == "unnamed"
    assert written.get("count", number) == number


@given(
    st.dictionaries(
        st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.binary())
    )
)
def test_only_allowed_fields_pass(fields: dict[str, Any]) -> None:
    kept = ours.keep_metadata(None, "info", dict(fields))
    assert set(kept) - {"dropped_fields"} <= ALLOWED_FIELDS
    for value in kept.values():
        assert isinstance(value, int | float) or not set(value) & set(" \n\t\"'")


class TestWhatComesOut:
    def test_metadata_of_our_events(self, configure: Callable[[str], Output]) -> None:
        output = configure("INFO")
        structlog.get_logger("pillars.test").info(
            "request", route="/map", status=200, duration_ms=1.5, tenant="acme", detector="presidio"
        )
        record = output.records[0]
        assert record.pop("timestamp").endswith("Z")
        assert record == {
            "event": "request", "level": "info", "logger": "pillars.test", "route": "/map",
            "status": 200, "duration_ms": 1.5, "tenant": "acme", "detector": "presidio",
        }  # fmt: skip

    def test_where_a_library_said_something(self, configure: Callable[[str], Output]) -> None:
        output = configure("INFO")
        logging.getLogger("somebody.else").error("the message")
        record = output.records[0]
        assert record["event"] == "library_log"
        assert record["logger"] == "somebody.else"
        assert record["module"] == "test_logging"
        assert record["level"] == "error"
        assert isinstance(record["line"], int)

    def test_type_and_place_of_an_exception(self, configure: Callable[[str], Output]) -> None:
        output = configure("INFO")
        try:
            fail_with("anything")
        except ValueError:
            structlog.get_logger("pillars.test").exception("broken")
        record = output.records[0]
        assert record["error_type"] == "ValueError"
        assert record["frames"][-1].endswith(":fail_with")
        assert "test_logging.py:" in record["frames"][-1]

    def test_request_id_of_the_context(self, configure: Callable[[str], Output]) -> None:
        output = configure("INFO")
        with structlog.contextvars.bound_contextvars(request_id="abc-123"):
            structlog.get_logger("pillars.test").info("inside")
            logging.getLogger("somebody.else").warning("inside")
        assert [record["request_id"] for record in output.records] == ["abc-123"] * 2

    def test_how_many_fields_were_dropped(self, configure: Callable[[str], Output]) -> None:
        output = configure("INFO")
        structlog.get_logger("pillars.test").info("event", secret="x", other="y", label="OK")
        record = output.records[0]
        assert (record["label"], record["dropped_fields"]) == ("OK", 2)

    def test_a_broken_call_of_a_library_still_leaves_a_line(
        self, configure: Callable[[str], Output]
    ) -> None:
        output = configure("INFO")
        logging.getLogger("somebody.else").error("%d", "no number")
        assert [record["event"] for record in output.records] == ["library_log"]

    def test_the_level(self, configure: Callable[[str], Output]) -> None:
        output = configure("WARNING")
        structlog.get_logger("pillars.quiet").info("event")
        logging.getLogger("somebody.quiet").info("event")
        assert output.text == ""


# Entry points of the services: importing them is what their servers do.
WEB = "import pillars.wsgi"
CELERY = (
    "import django; django.setup()\n"
    "from pillars.celery import app\n"
    "from celery.signals import setup_logging; setup_logging.send(None)"
)


@pytest.mark.parametrize("service", [WEB, CELERY], ids=["web", "celery"])
def test_what_python_itself_would_print(service: str, tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    script = (
        f"{service}\n"
        "import threading, warnings\n"
        "t = threading.Thread(target=lambda: int('secret of thread')); t.start(); t.join()\n"
        "warnings.warn('secret of warning')\n"
        "class C:\n    def __del__(self): int('secret of del')\n"
        "c = C(); del c\n"
        "int('secret of main')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PILLARS_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "secret" not in said
    records = [json.loads(line) for line in said.splitlines()]
    assert [r["event"] for r in records].count("uncaught_exception") == 3
    assert [r["event"] for r in records].count("library_log") == 1
    assert {r["error_type"] for r in records if "error_type" in r} == {"ValueError"}

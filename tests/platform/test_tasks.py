"""The log line of a background task."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pillars.celery import app

TENANT = "0189c2a4-7f1e-7000-8000-0123456789ab"


@app.task(name="tests.works")
def works(**_kwargs: str) -> None:
    """Does nothing, well."""


@app.task(name="tests.fails")
def fails() -> None:
    """Fails, quoting what it was given."""
    raise ValueError("john.smith@example.com")


@pytest.fixture
def lines(caplog: Any, monkeypatch: Any) -> Iterator[list[Any]]:
    """What is logged. A logger that was used before keeps its way out: here it is a fresh one."""
    monkeypatch.setattr("pillars.celery.log", structlog.get_logger("pillars.task"))
    with caplog.at_level("INFO"), structlog.testing.capture_logs() as records:
        yield records


def test_of_a_task_that_works(lines: list[Any]) -> None:
    works.apply(kwargs={"tenant_id": TENANT, "text": "john.smith@example.com"}, task_id="1")
    (line,) = (line for line in lines if line["event"] == "task")
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "task", "log_level": "info", "task": "tests.works", "task_id": "1",
        "state": "SUCCESS", "tenant_id": TENANT, "report_id": None,
    }  # fmt: skip


def test_of_a_task_that_fails(lines: list[Any]) -> None:
    fails.apply(task_id="2")
    (line,) = (line for line in lines if line["event"] == "task")
    assert (line["log_level"], line["task"], line["state"]) == ("error", "tests.fails", "FAILURE")
    assert "john" not in str(line)


def test_a_heartbeat_says_nothing(lines: list[Any]) -> None:
    app.loader.import_default_modules()
    app.tasks["pillars.heartbeat"].apply()
    assert not [line for line in lines if line["event"] == "task"]

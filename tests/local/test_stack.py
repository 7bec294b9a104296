"""The whole stack as a person runs it: `up`, `up` again, accidents, `down`."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from deploy.local.broker import EmbeddedBroker
from deploy.local.inference import missing_packages
from deploy.local.parts import stack_marker
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.processes import find_processes, random_port, wait_until
from deploy.local.state import REPOSITORY, StateDir, is_locked, read_json
from tests.local.conftest import person_environment

pytestmark = pytest.mark.stack


class Stack:
    """A stack of its own, driven by its command line alone."""

    def __init__(self, place: Path, **changed: str) -> None:
        self.state = StateDir(place / "state")
        self.port = random_port()
        self.environment = person_environment(self.state, PILLARS_PORT=str(self.port), **changed)

    def run(self, *words: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        result = subprocess.run(
            [sys.executable, "-m", "deploy.local", *words],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def processes(self) -> list[int]:
        data = self.state.path / "postgres" / "data"
        return find_processes(stack_marker(self.state), data)

    def get(self, path: str, key: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Host": f"localhost:{self.port}", "Authorization": f"Bearer {key}"}
        try:
            connection.request("GET", path, headers=headers if key else {"Host": headers["Host"]})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def events(self, tenant: int) -> int:
        """How many events a demo tenant has."""
        key = read_json(self.state.credentials_file)["tenants"][tenant]["api_key"]
        status, answer = self.get("/events?limit=200", key)
        assert status == 200, answer
        return len(next(value for value in answer.values() if isinstance(value, list)))


@pytest.fixture
def make_stack(place: Path) -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(**changed: str) -> Stack:
        made.append(Stack(place, **changed))
        return made[-1]

    yield make
    for stack in made:
        stack.run("clean")
        assert stack.processes() == []


@pytest.mark.alone
def test_up_shows_the_demo_once_and_recovers_from_a_kill(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack()
    first = stack.run("up")
    for expected in ("US_SSN", "PII.Identifier.SSN", "Platform admin", "/docs", "make down"):
        assert expected in first
    outputs = REPOSITORY / "pillars-detectors" / "examples" / "raw-outputs.jsonl"
    count = len(outputs.read_text().splitlines())
    assert f"{count} raw outputs" in first
    assert (stack.events(0), stack.events(1)) == (count, 0)
    assert stack.state.credentials_file.stat().st_mode & 0o777 == 0o600
    before = stack.state.credentials_file.read_bytes()

    started = time.monotonic()
    second = stack.run("up")
    assert time.monotonic() - started < 15
    assert "US_SSN" in second
    assert "migrated" not in second
    assert stack.events(0) == count

    supervisor = read_json(stack.state.state_file)["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: stack.processes() == [], 15)
    stack.run("up")
    assert stack.events(0) == count
    assert stack.state.credentials_file.read_bytes() == before

    assert "no process of the stack is left" in stack.run("down")
    assert stack.processes() == []
    assert not is_locked(stack.state.supervisor_lock)


@pytest.mark.skipif(bool(missing_packages()), reason="the extra `model` is not installed")
def test_a_language_model_comes_with_it(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    del stack.environment["PILLARS__INFERENCE__BACKEND"]
    assert re.search(r"Language model +ready", stack.run("up"))
    assert (stack.state.path / "inference.json").stat().st_mode & 0o777 == 0o600

    def health() -> str:
        return str(stack.get("/health/ready")[1]["parts"]["inference"])

    assert health() == "ok"
    os.kill(read_json(stack.state.state_file)["parts"]["inference"], signal.SIGKILL)
    assert wait_until(lambda: health() != "ok", 10)
    assert wait_until(lambda: health() == "ok", 60, pause=0.5), "the supervisor starts it again"
    stack.run("down")
    assert stack.processes() == []

    # A model that cannot be loaded leaves a stack that works without it.
    stack.environment["PILLARS_ADAPTER_DIR"] = str(stack.state.path)
    said = stack.run("up")
    assert re.search(r"Language model +not running", said)
    assert "answered without it" in said
    assert stack.events(0) > 0
    assert "US_SSN" in said


def test_an_interrupted_up_leaves_nothing_running(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "up"],
        cwd=REPOSITORY,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as up:
        assert wait_until(lambda: is_locked(stack.state.supervisor_lock), 30)
        up.send_signal(signal.SIGTERM)
        _, said = up.communicate(timeout=60)
    assert up.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert stack.processes() == []


def test_servers_of_ones_own(make_stack: Callable[..., Stack], place: Path) -> None:
    postgres = EmbeddedPostgres(place / "own-postgres", durable=False)
    broker = EmbeddedBroker(place / "own-broker")
    postgres.start()
    broker.start()
    try:
        stack = make_stack(DATABASE_URL=postgres.url, REDIS_URL=broker.url)
        assert "US_SSN" in stack.run("up")
        status = stack.run("status")
        assert "web" in status
        assert "postgres" not in status
        assert not (stack.state.path / "postgres").exists()
        stack.run("down")
        with psycopg.connect(postgres.url) as connection:
            row = connection.execute("SELECT count(*) FROM tenants_tenant").fetchone()
        assert row is not None
        assert row[0] >= 2
        assert redis.from_url(broker.url).ping()
    finally:
        postgres.delete()
        broker.delete()

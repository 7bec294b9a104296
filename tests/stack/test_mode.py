"""The kill switch against running web servers: how soon they follow, and in an outage."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.local.parts import service_environment
from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY, Settings, StateDir, read_json
from tests.support.stack import OwnStack, Stack

pytestmark = [pytest.mark.stack, pytest.mark.alone]
LIMIT_SECONDS = 2.0


class Web:
    """A web server, asked again and again for its mode."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[float, str]] = []  # when asked, and the answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)

    def ask(self, path: str = "/health/ready") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": f"localhost:{self.port}"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    @property
    def mode(self) -> str:
        return str(json.loads(self.ask())["mode"])

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            asked = time.time()
            self.seen.append((asked, self.mode))
            time.sleep(0.01)

    def __enter__(self) -> "Web":
        self._stop.clear()
        self.seen.clear()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()
        # A server that is new loads its models before its first answer.
        assert wait_until(lambda: bool(self.seen), 60)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def delay(self, made_at: float, mode: str) -> float:
        """Seconds from the choice to the last answer by another mode."""
        assert self.seen[-1][1] == mode
        return max(at - made_at for at, answered in self.seen if answered != mode)


@pytest.fixture(scope="module")
def own() -> OwnStack:
    return OwnStack()


@pytest.fixture(scope="module")
def stack(own: OwnStack) -> Iterator[Stack]:
    with own as stack:
        yield stack


@pytest.fixture(scope="module")
def webs(own: OwnStack, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The stack's own web server, and one with two processes that share their metrics."""
    state = StateDir.from_environment(own.environment)
    urls = read_json(state.state_file)
    port = random_port()
    environment = service_environment(
        state,
        Settings.from_environment(own.environment),
        database_url=urls["database_url"],
        redis_url=urls["redis_url"],
        inherited=own.environment,
    )
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path_factory.mktemp("metrics"))
    log = Path(environment["PROMETHEUS_MULTIPROC_DIR"]).with_suffix(".log")
    with log.open("w") as out:
        second = subprocess.Popen(
            [
                *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "2", "--blocking-threads", "4"),
                *("--no-ws", "pillars.wsgi:application"),
            ],
            cwd=REPOSITORY, env=environment, stdout=out, stderr=out,
        )  # fmt: skip
    both = [Web(int(own.environment["PILLARS_PORT"])), Web(port)]
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                both[1].ask("/health/live")
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield both
    finally:
        second.terminate()
        second.wait(timeout=30)


def switch(stack: Stack, verb: str) -> float:
    """Turn the switch by the command; when it was turned, in seconds since the epoch."""
    stack.manage("kill_switch", verb, "--reason", "a test")
    with psycopg.connect(stack.database_url) as connection:
        row = connection.execute("SELECT max(made_at) FROM switch_modechoice").fetchone()
    assert row is not None
    return float(row[0].timestamp())


def choose(stack: Stack, mode: str) -> None:
    """By the service, in a process of its own."""
    code = (
        "from mapping.switch.services import change_mode; "
        f"change_mode(mode={mode!r}, reason='', actor='system:tests')"
    )
    stack.manage("shell", "-c", code)


def test_running_servers_follow_within_two_seconds(stack: Stack, webs: list[Web]) -> None:
    choose(stack, "model_first")
    time.sleep(LIMIT_SECONDS)
    assert {web.mode for web in webs} == {"model_first"}
    for verb, mode in (("on", "rules_only"), ("off", "model_first")) * 2:
        with webs[0], webs[1]:
            made_at = switch(stack, verb)
            time.sleep(max(0.0, made_at + LIMIT_SECONDS + 0.5 - time.time()))
        delays = [web.delay(made_at, mode) for web in webs]
        print(f"{verb}: last answer by the old mode after", [round(d, 2) for d in delays])
        assert max(delays) < LIMIT_SECONDS, delays


def test_the_metrics_of_every_process_say_it(stack: Stack, webs: list[Web]) -> None:
    switch(stack, "on")
    time.sleep(LIMIT_SECONDS)
    for web in webs:
        for _ in range(6):  # the second server's processes take turns
            lines = web.ask("/metrics").splitlines()
            found = dict(
                line.rsplit(" ", 1) for line in lines if line.startswith("pillars_mapping_mode{")
            )
            assert found == {
                'pillars_mapping_mode{mode="hybrid"}': "0.0",
                'pillars_mapping_mode{mode="model_first"}': "0.0",
                'pillars_mapping_mode{mode="rules_only"}': "1.0",
            }
    switch(stack, "off")


def test_without_the_broker_the_switch_works(own: OwnStack, stack: Stack, webs: list[Web]) -> None:
    own.run("stop", "broker")
    try:
        made_at = switch(stack, "on")
        time.sleep(max(0.0, made_at + LIMIT_SECONDS - time.time()))
        assert {web.mode for web in webs} == {"rules_only"}
    finally:
        own.run("start", "broker")


def test_without_the_database_the_switch_stays_on(
    own: OwnStack, stack: Stack, webs: list[Web]
) -> None:
    own.run("stop", "postgres")
    try:
        until = time.monotonic() + 2 * LIMIT_SECONDS
        while time.monotonic() < until:
            for web in webs:
                found = json.loads(web.ask())
                assert (found["mode"], found["status"]) == ("rules_only", "unavailable")
    finally:
        own.run("start", "postgres")
    assert {web.mode for web in webs} == {"rules_only"}
    switch(stack, "off")
    time.sleep(LIMIT_SECONDS)
    assert {web.mode for web in webs} == {"model_first"}

"""Stop and kill the database, the broker and the worker under load.

Callers get 200 or a clear 503; the service recovers by itself; what was answered 200 is stored
exactly once; work asked for meanwhile is done afterwards.
"""

import http.client
import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from deploy.local import control
from deploy.local.processes import wait_until
from deploy.local.state import StateDir, read_json
from tests.stack.load import KEYED, PLAIN, Load
from tests.support.stack import OwnStack, Stack

pytestmark = pytest.mark.stack
# How lines begin that granian and Celery write about themselves, outside of our logging; the long
# ones are Celery's warning to whoever runs a worker as root.
OWN_WORDS = (
    "[INFO] ", "[WARNING] ", "worker: Warm shutdown", "worker: Cold shutdown",
    "absolutely not recommended!", "Please specify a different user", "User information: uid=",
    "  _warn_or_raise_security_error",
)  # fmt: skip


class Running:
    """A stack of its own, its supervisor and its API."""

    def __init__(self, own: OwnStack, stack: Stack) -> None:
        self.own, self.stack = own, stack
        self.state = StateDir.from_environment(own.environment)
        self.port = int(own.environment["PILLARS_PORT"])
        self.key = stack.api_key()

    def command(self, *words: str) -> None:
        self.own.run(*words)

    def tenant_state(self, slug: str) -> str:
        """As `tenant list` says."""
        with psycopg.connect(read_json(self.state.state_file)["database_url"]) as connection:
            found = connection.execute("SELECT state FROM tenants_tenant WHERE slug = %s", [slug])
            row = found.fetchone()
        assert row is not None
        return str(row[0])

    def kill(self, part: str) -> None:
        parts = control.ask(self.state, "status")["parts"]
        os.kill(next(p["pid"] for p in parts if p["name"] == part), signal.SIGKILL)

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def event_ids(self) -> list[str]:
        """Ids of all events of the tenant, by pages."""
        found: list[str] = []
        path = "/events?limit=1000"
        while path:
            status, page = self.call("GET", path)
            assert status == 200
            found += [event["event_id"] for event in page["results"]]
            path = page["next"].split(f":{self.port}", 1)[1] if page["next"] else ""
        return found


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    own = OwnStack()
    with own as stack:
        yield Running(own, stack)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} took longer than {seconds} s"
        time.sleep(0.2)


def disturb(running: Running, load: Load, part: str) -> None:
    """Stop a part for a moment, then kill it; each time the service comes back by itself."""
    load.wait_for_success(after=time.monotonic())
    running.command("stop", part)
    time.sleep(1)
    running.command("start", part)
    load.wait_for_success(after=time.monotonic())
    running.kill(part)
    load.wait_for_success(after=time.monotonic())
    # On a slow machine the outages leave few answers: go on until there is enough to count.
    assert wait_until(lambda: load.ledger.statuses[200] > 20, 60)


def check_ledger(running: Running, load: Load) -> None:
    """Every event answered 200 is there exactly once; refusals were clear."""
    ledger = load.ledger
    assert ledger.statuses[200] > 20
    assert set(ledger.statuses) <= {200, 503}, ledger.statuses
    assert ledger.broken == []  # the web server itself never broke off
    for refusal in ledger.refusals:
        assert refusal["code"] == "database_unavailable"
        assert int(refusal["retry"]) > 0
    stored = Counter(running.event_ids())
    assert [event for event in ledger.stored if stored[event] != 1] == []
    assert max(Counter(ledger.stored).values()) == 1


@dataclass(frozen=True)
class Work:
    """What was asked for: a report's id and a tenant's short name."""

    report: str
    tenant: str


def ask_for_work(running: Running) -> Work:
    """Ask for a report and for a tenant's set-up; both must be taken note of at once."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    wanted = {"framework": "soc2", "period_start": today, "period_end": today}
    started = time.monotonic()
    status, report = running.call("POST", "/reports", wanted)
    assert time.monotonic() - started < 5
    assert (status, report["state"]) == (202, "queued"), report
    slug = f"t{uuid.uuid4().hex[:10]}"
    running.command("manage", "tenant", "create", slug, "--name", "New tenant")
    assert running.tenant_state(slug) == "pending"
    return Work(report["id"], slug)


def is_done(running: Running, work: Work) -> bool:
    report = running.call("GET", f"/reports/{work.report}")[1]["state"]
    assert report != "failed"
    return report == "done" and running.tenant_state(work.tenant) == "active"


@pytest.fixture(scope="module")
def early(running: Running) -> Work:
    """Work that was asked for while the broker was away; looked for at the end of the module."""
    running.command("stop", "broker")
    try:
        return ask_for_work(running)
    finally:
        running.command("start", "broker")


def test_work_can_be_asked_for_without_broker(early: Work) -> None:
    assert early.report


def test_database_stopped_and_killed_under_load(running: Running) -> None:
    with Load(running.port, running.key, PLAIN + KEYED) as load:
        disturb(running, load, "postgres")
    assert load.ledger.statuses[503] > 0  # the outage was felt, and said
    check_ledger(running, load)


def test_a_request_repeated_with_its_key_counts_once(running: Running) -> None:
    """Callers who repeat a request through an outage leave nothing but what they were answered."""
    before = set(running.event_ids())
    with Load(running.port, running.key, KEYED) as load:
        disturb(running, load, "postgres")
    assert load.ledger.statuses[503] > 0
    assert set(running.event_ids()) - before == set(load.ledger.stored)
    check_ledger(running, load)


def test_broker_stopped_and_killed_under_load(running: Running) -> None:
    with Load(running.port, running.key, PLAIN + KEYED) as load:
        disturb(running, load, "broker")
    assert load.ledger.statuses[503] == 0  # /map does not need the broker
    check_ledger(running, load)


def test_worker_stopped_and_killed_under_load(running: Running) -> None:
    with Load(running.port, running.key, PLAIN + KEYED) as load:
        disturb(running, load, "worker")
    assert load.ledger.statuses[503] == 0
    check_ledger(running, load)


def test_readiness_names_the_part_that_fails(running: Running) -> None:
    wait_for(lambda: running.call("GET", "/health/ready")[1]["status"] == "ready", "readiness")
    running.command("stop", "broker")
    try:
        status, body = running.call("GET", "/health/ready")
        assert (status, body["status"]) == (200, "degraded")
        assert "broker" in body["failed"]
    finally:
        running.command("start", "broker")
    running.command("stop", "postgres")
    try:
        status, body = running.call("GET", "/health/ready")
        assert (status, body["status"]) == (503, "unavailable")
        assert "database" in body["failed"]
        assert running.call("GET", "/health/live")[0] == 200
    finally:
        running.command("start", "postgres")
    wait_for(lambda: running.call("GET", "/health/ready")[1]["status"] == "ready", "recovery")


def test_work_asked_for_without_worker_is_done_when_it_is_back(running: Running) -> None:
    running.command("stop", "worker")
    try:
        work = ask_for_work(running)
    finally:
        running.command("start", "worker")
    wait_for(lambda: is_done(running, work), "the report and the set-up")


def test_work_asked_for_without_broker_is_done_afterwards(running: Running, early: Work) -> None:
    """The messages were lost: the rows are found by the sweeps of the schedule."""
    wait_for(lambda: is_done(running, early), "the report and the set-up", seconds=90)


def test_logs_are_metadata_in_json(running: Running) -> None:
    """Through all of this no part has written anything else, except at its own start."""
    odd = [
        (part, line)
        for part in ("web", "worker", "beat")
        for line in running.state.log(part).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(OWN_WORDS) and not is_record(line)
        if "SecurityWarning: You're running the worker with superuser" not in line
    ]
    assert not odd, "\n".join(map(repr, odd))


def is_record(line: str) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and {"event", "level", "timestamp"} <= set(record)

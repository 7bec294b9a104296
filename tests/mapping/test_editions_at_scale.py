"""100,000 events from 2025.09 to 2026.11: applied, killed half-way, resumed, verified, inverted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from mapping.models import MigratedLabels, MigrationRun, RunState
from tenants.context import tenant_context
from tests.support.editions import NEW, OLD, SAMPLES, plant
from tests.support.schemas import set_up

EVENTS = 100_000
ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "manage.py", "apply_migration", OLD, NEW]
SHARE = EVENTS // len(SAMPLES)
OLD_EVENTS = SHARE * sum(sample.edition == OLD for sample in SAMPLES)


def environment() -> dict[str, str]:
    """This process's, with the test's database in place of the one beside it."""
    settings = connection.settings_dict
    url = os.environ["DATABASE_URL"].rpartition("/")[0]
    return {**os.environ, "DATABASE_URL": f"{url}/{settings['NAME']}", "PYTHONPATH": ".:platform"}


def command(slug: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [*COMMAND, "--tenant", slug, "--json", *words],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)["tenants"][slug]
    return report


def kill_half_way(slug: str, tenant: Any) -> int:
    """Start the command, kill it without warning, and say how many events it had carried."""
    process = subprocess.Popen(
        [*COMMAND, "--tenant", slug, "--batch-size", "500"],
        cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while carried(tenant) < OLD_EVENTS // 2:
        assert time.monotonic() < deadline, "it does not move"
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return carried(tenant)


def carried(tenant: Any) -> int:
    with tenant_context(tenant):
        return MigratedLabels.objects.count()


def events_digest(tenant: Any) -> str:
    """Of the first EVENTS events: they must never change."""
    with tenant_context(tenant), connection.cursor() as cursor:
        cursor.execute(
            "SELECT md5(string_agg(e::text, '|' ORDER BY id)) FROM "
            "(SELECT * FROM mapping_mappingevent ORDER BY id LIMIT %s) e",
            [EVENTS],
        )
        return str(cursor.fetchone()[0])


def shown_labels(tenant: Any) -> dict[str, int]:
    """Events by shown label, counted by SQL of the test's own."""
    with tenant_context(tenant), connection.cursor() as cursor:
        cursor.execute(
            "SELECT l, count(*) FROM mapping_mappingevent e LEFT JOIN mapping_migratedlabels m "
            "ON m.event_id = e.id AND m.shown, unnest(coalesce(m.labels, e.labels)) l GROUP BY 1"
        )
        return dict(cursor.fetchall())


def expected(*, inverted: bool) -> dict[str, int]:
    """What the samples say must be shown, with the events that came in meanwhile."""
    counts: dict[str, int] = {}
    for sample in SAMPLES:
        migrated = sample.edition == (NEW if inverted else OLD)
        for label in sample.shown if migrated else sample.labels:
            counts[label] = counts.get(label, 0) + SHARE + 10
    return counts


@pytest.mark.timeout(600)
def test_applied_killed_resumed_verified_inverted(new_tenant: Callable[..., Any]) -> None:
    tenant, neighbour = new_tenant(), new_tenant()
    for one in (tenant, neighbour):
        set_up(one)
    plant(tenant, EVENTS)
    plant(neighbour, 100)
    before = events_digest(tenant)
    slug = tenant.slug

    preview = command(slug, "--dry-run")
    assert preview["counts"]["events"] == OLD_EVENTS
    assert carried(tenant) == 0

    half = kill_half_way(slug, tenant)
    assert OLD_EVENTS // 2 <= half < OLD_EVENTS
    with tenant_context(tenant):
        run = MigrationRun.objects.get()
        assert (run.state, run.counts["events"]) == (RunState.RUNNING, half)
    plant(tenant, len(SAMPLES) * 10, first=EVENTS)  # what comes in meanwhile

    report = command(slug)
    old_now = OLD_EVENTS + 10 * sum(sample.edition == OLD for sample in SAMPLES)
    assert (report["events"], report["rows"], report["missing"], report["wrong"]) == (
        old_now, old_now, 0, 0,
    )  # fmt: skip
    assert report["balanced"]
    assert command(slug, "--verify")["counts"] == report["counts"]
    assert shown_labels(tenant) == expected(inverted=False)
    with tenant_context(tenant):
        run.refresh_from_db()
        assert (run.state, run.counts["events"]) == (RunState.DONE, old_now)

    back = command(slug, "--invert")
    assert back["balanced"]
    assert carried(tenant) == back["events"] == EVENTS + 100 - old_now
    assert shown_labels(tenant) == expected(inverted=True)
    assert events_digest(tenant) == before
    assert carried(neighbour) == 0

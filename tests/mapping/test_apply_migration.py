"""`manage.py apply_migration`: what it prints, refuses and hands over."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from mapping import editions, tasks
from mapping.management.commands.apply_migration import _bar
from mapping.models import Direction, MigratedLabels, MigrationRun
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.support.editions import NEW, OLD, SAMPLES, plant

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(acme: DemoTenant) -> Any:
    """acme with every sample five times."""
    plant(acme.tenant, 5 * len(SAMPLES))
    return acme.tenant


def command(*words: str) -> tuple[str, str]:
    """What the command printed, and what it failed with."""
    out, failure = StringIO(), ""
    try:
        call_command("apply_migration", OLD, NEW, *words, stdout=out)
    except CommandError as error:
        failure = str(error)
    return out.getvalue(), failure


class TestTheCommand:
    def test_previews_applies_and_inverts(self, tenant: Any) -> None:
        with tenant_context(tenant):
            text, failure = command("--tenant", tenant.slug, "--dry-run")
            assert failure == ""
            assert "40 events of 2025.09 would be shown with labels of 2026.11" in text
            assert "HARM.VIOLENCE.Physical was split" in text
            assert not MigrationRun.objects.exists()
            text, failure = command("--tenant", tenant.slug)
            assert failure == ""
            assert "PROMPT_INJECTION.Other" in text
            assert "the counts balance" in text
            text, _ = command("--tenant", tenant.slug, "--invert")
            assert "10 events of 2026.11 are shown with labels of 2025.09; 5 of them" in text

    def test_goes_through_tenants(self, tenant: Any, globex: DemoTenant) -> None:
        plant(globex.tenant, 10)
        report = json.loads(command("--all-tenants", "--json")[0])["tenants"]
        assert {slug: one["events"] for slug, one in report.items()}.items() >= {
            "acme": 40, "globex": 8,
        }.items()  # fmt: skip

    def test_says_what_does_not_balance(self, tenant: Any) -> None:
        command("--tenant", tenant.slug)
        with tenant_context(tenant):
            MigratedLabels.objects.filter(given_taxonomy=OLD).update(labels=["PII.Other"])
        text, failure = command("--tenant", tenant.slug, "--verify")
        assert "PROBLEM: 40 events are shown with other labels" in text
        assert failure == "acme: the counts do not balance."

    @pytest.mark.parametrize(
        ("words", "failure"),
        [
            ((), "Name --tenant SLUG, --all-tenants or --detector-files DIR."),
            (("--tenant", "nobody"), "No active tenant is called nobody."),
            (("--tenant", "acme", "--all-tenants"), "not both"),
            (("--tenant", "acme", "--invert"), "nothing to invert"),
            (("--tenant", "acme", "--verify"), "Apply it first"),
        ],
    )
    def test_refuses(self, acme: DemoTenant, words: tuple[str, ...], failure: str) -> None:
        assert failure in command(*words)[1]

    def test_one_refused_tenant_does_not_hold_the_others_back(
        self, tenant: Any, globex: DemoTenant
    ) -> None:
        plant(globex.tenant, 10)
        command("--tenant", "globex")
        text, failure = command("--tenant", "acme", "--tenant", "globex", "--invert", "--json")
        assert failure.startswith("acme: No migration from 2025.09 to 2026.11 is applied here.")
        report = json.loads(text)["tenants"]
        assert (len(report["acme"]["problems"]), report["globex"]["balanced"]) == (1, True)

    def test_draws_a_bar_with_rate_and_time_left(self, tenant: Any) -> None:
        screen = StringIO()
        console = Console(file=screen, force_terminal=True, width=100)
        with tenant_context(tenant):
            run = editions.start_run(
                old=OLD, new=NEW, direction=Direction.APPLY, actor="user:tester", batch_size=7
            )
            with _bar("acme carrying", 50, console) as bar:
                editions.carry_on(run_id=run.pk, after_batch=bar.show)
        drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
        assert re.search(r"acme carrying .*50/50 [\d,]+ events/s 0:00:00", drawn)

    @pytest.mark.parametrize("size", ["0", "x", "-1", "1000000"])
    def test_wants_a_batch_size_that_can_be(self, size: str) -> None:
        assert "give a whole number" in command("--all-tenants", f"--batch-size={size}")[1]

    def test_hands_it_to_the_workers(self, tenant: Any, monkeypatch: Any) -> None:
        sent: list[str] = []
        monkeypatch.setattr(tasks.queue, "dispatch", lambda name, **kw: sent.append(name) or True)
        text, failure = command("--tenant", tenant.slug, "--background")
        assert (text, failure) == (
            "acme: the workers do it. --verify says when it is done.\n", "",
        )  # fmt: skip
        assert sent == ["mapping.migrate_tenant"]
        with tenant_context(tenant):
            assert MigrationRun.objects.get().background

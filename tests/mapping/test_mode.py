"""The mapping mode: what is in force, who said so, and how soon a process knows."""

import json
import time
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pgtrigger
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import (
    IntegrityError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from prometheus_client import REGISTRY

from audit.models import AuditEntry
from mapping import mode as modes
from mapping import watching
from mapping.mode import MODES, forget_mode, mode_in_force, read_mode
from mapping.switch.models import ChoiceKind, Mode, ModeChoice
from mapping.switch.services import (
    ModeError,
    NothingToDoError,
    change_mode,
    last_choice,
    turn_kill_switch_off,
    turn_kill_switch_on,
)
from pillars.config import PillarsConfig, load_config
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.support.threads import apart, together

ANN = "user:ann"
FILE = settings.CONFIG.mapping.mode
OTHER = "model_first"  # not the file's


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    """What a test chooses must not outlive it in this process."""
    forget_mode()
    yield
    forget_mode()


def command(*words: str) -> dict[str, Any]:
    out = StringIO()
    call_command("kill_switch", *words, "--json", stdout=out, stderr=StringIO())
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


class TestTheFile:
    def test_names_every_mode_and_no_other(self) -> None:
        assert set(MODES) == set(Mode.values)
        for mode in MODES:
            values = load_config(None, {"PILLARS__MAPPING__MODE": mode}).values
            assert values.mapping.mode == mode

    @pytest.mark.django_db
    @pytest.mark.parametrize("mode", MODES)
    def test_is_in_force_while_nobody_has_chosen(self, settings: Any, mode: str) -> None:
        settings.CONFIG = PillarsConfig.model_validate(
            {"services": settings.CONFIG.services.model_dump(), "mapping": {"mode": mode}}
        )
        found = mode_in_force()
        assert (found.mode, found.source, found.since, found.by) == (mode, "file", None, None)
        assert not found.kill_switch


@pytest.mark.django_db
class TestChoices:
    def test_a_choice_wins_over_the_file(self) -> None:
        choice = change_mode(mode="model_first", reason=" As before. ", actor=ANN)
        found = read_mode()
        assert (found.mode, found.source, found.by) == ("model_first", "database", ANN)
        assert (found.since, found.reason) == (choice.made_at, "As before.")
        assert (choice.previous, choice.followed) == (FILE, True)

    def test_the_file_can_be_chosen_again(self) -> None:
        change_mode(mode=OTHER, reason="", actor=ANN)
        choice = change_mode(mode=None, reason="", actor=ANN)
        found = read_mode()
        assert (found.mode, found.source, found.by) == (FILE, "file", ANN)
        assert (choice.number, choice.previous, choice.followed) == (2, OTHER, False)

    def test_what_is_so_already_is_refused(self) -> None:
        with pytest.raises(NothingToDoError, match=f"{FILE}, of pillars.yaml"):
            change_mode(mode=None, reason="", actor=ANN)
        change_mode(mode="hybrid", reason="", actor=ANN)
        with pytest.raises(NothingToDoError, match="hybrid is in force already"):
            change_mode(mode="hybrid", reason="", actor=ANN)
        with pytest.raises(ModeError, match="Choose hybrid, model_first, rules_only"):
            change_mode(mode="magic", reason="", actor=ANN)  # type: ignore[arg-type]
        assert ModeChoice.objects.count() == 1

    def test_rows_stay_as_they_are(self) -> None:
        change_mode(mode=OTHER, reason="", actor=ANN)
        for statement in (
            "UPDATE switch_modechoice SET mode = 'hybrid'",
            "DELETE FROM switch_modechoice",
            "TRUNCATE switch_modechoice",
        ):
            with pytest.raises((InternalError, ProgrammingError)), transaction.atomic():
                connection.cursor().execute(statement)
        with pytest.raises(IntegrityError), transaction.atomic():
            ModeChoice.objects.create(
                number=1, kind=ChoiceKind.CHOSEN, mode="hybrid", effective="hybrid",
                previous=OTHER, followed=False, made_by=ANN,
            )  # fmt: skip
        assert read_mode().mode == OTHER

    def test_in_a_tenant_it_is_still_the_platforms(self, acme: DemoTenant) -> None:
        """Choice and audit entry stand in the public schema, wherever the caller is."""
        with tenant_context(acme.tenant):
            before = AuditEntry.objects.count()
            turn_kill_switch_on(reason="", actor=ANN)
            assert AuditEntry.objects.count() == before
            assert read_mode().kill_switch
        assert AuditEntry.objects.latest("id").action == "kill_switch.on"


@pytest.mark.django_db
class TestKillSwitch:
    @pytest.mark.parametrize("before", [None, *MODES])
    def test_goes_back_to_what_was_before(self, before: Any) -> None:
        if before is not None:
            change_mode(mode=before, reason="", actor=ANN)
        was = read_mode()
        turn_kill_switch_on(reason="It errs.", actor=ANN)
        found = read_mode()
        assert (found.mode, found.kill_switch, found.reason) == ("rules_only", True, "It errs.")
        turn_kill_switch_off(reason="", actor=ANN)
        found = read_mode()
        assert (found.mode, found.source) == (was.mode, was.source)
        assert not found.kill_switch

    def test_turned_twice_changes_nothing(self) -> None:
        with pytest.raises(NothingToDoError, match="not on"):
            turn_kill_switch_off(reason="", actor=ANN)
        turn_kill_switch_on(reason="", actor=ANN)
        with pytest.raises(NothingToDoError, match=r"on already, since .* by user:ann"):
            turn_kill_switch_on(reason="", actor="user:bob")
        turn_kill_switch_off(reason="", actor=ANN)
        with pytest.raises(NothingToDoError):
            turn_kill_switch_off(reason="", actor=ANN)
        assert ModeChoice.objects.count() == 2

    def test_no_mode_is_chosen_past_it(self) -> None:
        turn_kill_switch_on(reason="", actor=ANN)
        for mode in (None, *MODES):
            with pytest.raises(ModeError, match="Turn it off first"):
                change_mode(mode=mode, reason="", actor=ANN)
        assert read_mode().mode == "rules_only"

    def test_every_step_is_audited(self) -> None:
        change_mode(mode=OTHER, reason="", actor=ANN)
        turn_kill_switch_on(reason="", actor="user:bob")
        turn_kill_switch_off(reason="", actor=ANN)
        entries = list(AuditEntry.objects.order_by("id").values("action", "actor", "target"))[-3:]
        assert entries == [
            {"action": "mapping_mode.chosen", "actor": ANN, "target": OTHER},
            {"action": "kill_switch.on", "actor": "user:bob", "target": "rules_only"},
            {"action": "kill_switch.off", "actor": ANN, "target": OTHER},
        ]


@pytest.mark.django_db
class TestTheCommand:
    def test_on_status_off(self) -> None:
        change_mode(mode=OTHER, reason="", actor=ANN)
        assert command("status") == {
            "changed": False, "kill_switch": False, "mode": OTHER, "source": "database",
            "since": command("status")["since"], "by": ANN, "reason": "",
        }  # fmt: skip
        found = command("on", "--reason", "Wrong labels")
        assert found["changed"] is found["kill_switch"] is True
        assert (found["mode"], found["reason"]) == ("rules_only", "Wrong labels")
        assert found["by"] == "system:kill_switch"
        found = command("off")
        assert (found["mode"], found["kill_switch"], found["changed"]) == (OTHER, False, True)

    def test_twice_is_no_failure(self) -> None:
        command("on")
        out, err = StringIO(), StringIO()
        call_command("kill_switch", "on", stdout=out, stderr=err)
        assert "on already" in err.getvalue()
        assert "kill_switch  on" in out.getvalue()
        assert "rules_only" in out.getvalue()

    def test_without_the_database_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away() -> None:
            raise OperationalError

        monkeypatch.setattr("mapping.management.commands.kill_switch.read_mode", away)
        with pytest.raises(CommandError, match="nothing was changed"):
            command("status")


@pytest.mark.django_db
class TestWhereItIsShown:
    def test_readiness_versions_and_metrics(
        self, api: Callable[..., Any], acme: DemoTenant
    ) -> None:
        for mode in ("hybrid", "rules_only"):
            change_mode(mode=mode, reason="", actor=ANN)
            forget_mode()
            assert api("GET", "/health/ready").json()["mode"] == mode
            assert api("GET", "/versions", acme.key).json()["mode"] == mode
            out = StringIO()
            call_command("show_versions", "--json", stdout=out)
            assert json.loads(out.getvalue())["mode"] == mode
            forget_mode()
            text = api("GET", "/metrics").content.decode()
            for one in MODES:
                assert f'pillars_mapping_mode{{mode="{one}"}} {float(one == mode)}' in text


@pytest.fixture
def clean(committed: None) -> Iterator[None]:
    """Choices may be committed; they are taken away afterwards."""
    yield
    with pgtrigger.ignore():
        ModeChoice.objects.all().delete()
        AuditEntry.objects.filter(actor=ANN).delete()


def choose_elsewhere(mode: str) -> None:
    """Commit a choice as another process would: this one is not told."""
    last = last_choice()
    apart(
        lambda: ModeChoice.objects.create(
            number=last.number + 1 if last else 1, kind=ChoiceKind.CHOSEN, mode=mode,
            effective=mode, previous=FILE, followed=False, made_by=ANN,
        )
    )  # fmt: skip


@pytest.mark.usefixtures("clean")
class TestInAProcess:
    def test_asking_reads_once_a_second_at_most(
        self, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mode_in_force()
        with django_assert_num_queries(0):
            for _ in range(1_000):
                mode_in_force()
        monkeypatch.setattr(watching, "REFRESH_SECONDS", 0.0)
        with django_assert_num_queries(2):  # with the SET search_path
            mode_in_force()

    def test_a_choice_made_here_holds_at_once(self) -> None:
        assert mode_in_force().mode == FILE
        change_mode(mode=OTHER, reason="", actor=ANN)
        assert mode_in_force().mode == OTHER
        turn_kill_switch_on(reason="", actor=ANN)
        assert mode_in_force().kill_switch

    def test_a_choice_taken_back_never_holds(self) -> None:
        with transaction.atomic():
            change_mode(mode=OTHER, reason="", actor=ANN)
            transaction.set_rollback(True)
        assert mode_in_force().mode == FILE

    def test_a_choice_made_elsewhere_holds_within_two_seconds(self) -> None:
        assert mode_in_force().mode == FILE
        choose_elsewhere(OTHER)
        started = time.monotonic()
        while mode_in_force().mode != OTHER:
            assert time.monotonic() - started < 2
            time.sleep(0.01)

    def test_threads_that_were_idle_do_not_go_on_with_an_old_mode(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of them reads; the others wait for it, because what they have is too old."""
        assert mode_in_force().mode == FILE
        choose_elsewhere(OTHER)
        monkeypatch.setattr(modes._watch, "_read_at", time.monotonic() - 60)
        assert {one.mode for one in together([mode_in_force] * 8)} == {OTHER}

    def test_the_gauge_follows(self) -> None:
        for mode in MODES:
            choose_elsewhere(mode)
            forget_mode()
            mode_in_force()
            found = {
                one: REGISTRY.get_sample_value("pillars_mapping_mode", {"mode": one})
                for one in MODES
            }
            assert found == {one: float(one == mode) for one in MODES}

    def test_without_the_database_what_was_in_force_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        change_mode(mode=OTHER, reason="", actor=ANN)
        turn_kill_switch_on(reason="", actor=ANN)
        known = mode_in_force()
        monkeypatch.setattr(watching, "REFRESH_SECONDS", 0.0)
        connection.close()
        with monkeypatch.context() as away:
            away.setitem(connection.settings_dict, "PORT", "1")
            for _ in range(3):
                assert mode_in_force() == known
            forget_mode()
            with pytest.raises(OperationalError):  # never read: the switch may be on
                mode_in_force()
        assert mode_in_force() == known

    def test_without_the_broker_nothing_changes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(*_args: object, **_more: object) -> None:
            raise AssertionError("the broker was asked")

        monkeypatch.setattr("redis.connection.Connection.connect", away)
        assert mode_in_force().mode == FILE
        turn_kill_switch_on(reason="", actor=ANN)
        assert mode_in_force().kill_switch

    def test_of_switches_turned_at_once_one_is_taken(self) -> None:
        def turn() -> str:
            try:
                turn_kill_switch_on(reason="", actor=ANN)
            except NothingToDoError:
                return "so already"
            return "turned"

        assert sorted(together([turn] * 4)) == [*["so already"] * 3, "turned"]

"""A tenant's own thresholds: choices, what they change in answers, and when a process knows."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import InternalError, OperationalError, ProgrammingError, connection, transaction

from audit.models import AuditEntry
from mapping import slots
from mapping import thresholds as module
from mapping.models import ThresholdOverride, ThresholdScope
from mapping.overrides import ThresholdError, set_threshold, take_threshold_away
from mapping.thresholds import (
    forget_thresholds,
    overrides_in_force,
    platform_layer,
    tenant_layer,
    thresholds_in_force,
)
from pillars.config import PillarsConfig
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.support.schemas import set_up
from tests.support.threads import apart, together

ANN = "user:ann"
EVERY, DETECTOR, BRANCH = ThresholdScope.TENANT, ThresholdScope.DETECTOR, ThresholdScope.BRANCH
EMAIL = "PII.Contact.Email"
# Mapped by the caller's description, with confidence 0.7.
ITEM = {"detector": "home-made", "output": ["e1"], "label_descriptions": {"e1": "Email"}}


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    """What a test chooses must not outlive it in this process."""
    forget_thresholds()
    yield
    forget_thresholds()


def configured(settings: Any, **mapping: Any) -> None:
    """pillars.yaml with these keys under `mapping`."""
    settings.CONFIG = PillarsConfig.model_validate(
        {"services": settings.CONFIG.services.model_dump(), "mapping": mapping}
    )
    forget_thresholds()


@pytest.mark.django_db
class TestChoices:
    @pytest.fixture(autouse=True)
    def _inside(self, acme: DemoTenant) -> Iterator[None]:
        with tenant_context(acme.tenant):
            yield

    def test_the_last_choice_of_each_is_in_force(self) -> None:
        set_threshold(scope=EVERY, value=0.5, actor=ANN)
        set_threshold(scope=DETECTOR, subject="presidio", value=0.8, actor=ANN)
        set_threshold(scope=BRANCH, subject="PII", value=0.7, actor=ANN)
        set_threshold(scope=BRANCH, subject="PII", value=0.75, actor=ANN, note=" Fewer. ")
        found = [(one.scope, one.subject, one.value) for one in overrides_in_force()]
        assert found == [
            ("tenant", "", 0.5),
            ("branch", "PII", 0.75),
            ("detector", "presidio", 0.8),
        ]
        last = ThresholdOverride.objects.latest("number")
        assert (last.number, last.previous, last.note, last.made_by) == (4, 0.7, "Fewer.", ANN)
        layer = tenant_layer(overrides_in_force())
        assert (layer.default, layer.detectors, layer.branches) == (
            0.5, {"presidio": 0.8}, {"PII": 0.75},
        )  # fmt: skip

    def test_taken_away_the_platforms_holds_again(self, acme: DemoTenant) -> None:
        set_threshold(scope=BRANCH, subject=EMAIL, value=0.9, actor=ANN)
        take_threshold_away(scope=BRANCH, subject=EMAIL, actor=ANN)
        assert overrides_in_force() == []
        default = settings.CONFIG.mapping.confidence_threshold
        assert thresholds_in_force(acme.tenant).of("presidio", EMAIL) == default
        assert ThresholdOverride.objects.count() == 2
        with pytest.raises(ThresholdError, match="no such threshold"):
            take_threshold_away(scope=BRANCH, subject=EMAIL, actor=ANN)

    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
    def test_a_value_that_is_no_probability(self, value: float) -> None:
        with pytest.raises(ThresholdError, match="from 0 to 1"):
            set_threshold(scope=EVERY, value=value, actor=ANN)

    @pytest.mark.parametrize("branch", ["PI", "pii", "PII.Nothing", "", "PII."])
    def test_a_branch_that_the_taxonomy_lacks(self, branch: str) -> None:
        with pytest.raises(ThresholdError, match="no such label or branch"):
            set_threshold(scope=BRANCH, subject=branch, value=0.5, actor=ANN)

    @pytest.mark.parametrize("branch", ["PII", "PII.Contact", EMAIL, "HARM.SPEECH"])
    def test_labels_and_branches_at_every_level(self, branch: str) -> None:
        assert set_threshold(scope=BRANCH, subject=branch, value=0.5, actor=ANN).subject == branch

    @pytest.mark.parametrize("name", ["", "  ", "John Smith, 12 Main Street", "a@b.example", "---"])
    def test_what_is_no_name_of_a_detector_is_not_kept(self, name: str) -> None:
        with pytest.raises(ThresholdError, match="no name of a detector"):
            set_threshold(scope=DETECTOR, subject=name, value=0.5, actor=ANN)

    @pytest.mark.parametrize(
        ("name", "kept"),
        [("Presidio", "presidio"), ("Llama Guard_3", "llama-guard-3"), ("My-Own", "my-own")],
    )
    def test_detectors_are_kept_by_one_spelling(self, name: str, kept: str) -> None:
        assert set_threshold(scope=DETECTOR, subject=name, value=0.5, actor=ANN).subject == kept
        with pytest.raises(ThresholdError, match=r"It is 0\.5 already"):
            set_threshold(scope=DETECTOR, subject=kept, value=0.5, actor=ANN)

    def test_rows_stay_as_they_are(self) -> None:
        set_threshold(scope=EVERY, value=0.5, actor=ANN)
        for statement in (
            "UPDATE mapping_thresholdoverride SET value = 0",
            "DELETE FROM mapping_thresholdoverride",
            "TRUNCATE mapping_thresholdoverride",
        ):
            with pytest.raises((InternalError, ProgrammingError)), transaction.atomic():
                connection.cursor().execute(statement)

    def test_each_is_audited(self) -> None:
        set_threshold(scope=DETECTOR, subject="presidio", value=0.8, actor=ANN)
        take_threshold_away(scope=DETECTOR, subject="presidio", actor="user:bob")
        set_threshold(scope=EVERY, value=0.5, actor=ANN)
        found = list(AuditEntry.objects.order_by("id").values_list("action", "actor", "target"))
        assert found[-3:] == [
            ("threshold.set", ANN, "detector presidio"),
            ("threshold.taken_away", "user:bob", "detector presidio"),
            ("threshold.set", ANN, "tenant"),
        ]
        assert AuditEntry.objects.latest("id").detail["value"] == 0.5


@pytest.mark.django_db
class TestAnswers:
    def decision(self, api: Callable[..., Any], tenant: DemoTenant) -> str:
        forget_thresholds()
        answer = api("POST", "/map", tenant.key, json=ITEM).json()
        assert (answer["taxonomy"], answer["confidence"]) == ([EMAIL], 0.7)
        return str(answer["decision"])

    def test_go_by_the_tenants_own_and_no_others(
        self, api: Callable[..., Any], acme: DemoTenant, globex: DemoTenant
    ) -> None:
        assert self.decision(api, acme) == "mapped"
        with tenant_context(acme.tenant):
            set_threshold(scope=BRANCH, subject="PII", value=0.8, actor=ANN)
        assert self.decision(api, acme) == "review"
        assert self.decision(api, globex) == "mapped"
        with tenant_context(acme.tenant):
            take_threshold_away(scope=BRANCH, subject="PII", actor=ANN)
        assert self.decision(api, acme) == "mapped"

    @pytest.mark.parametrize(
        ("mapping", "decision"),
        [
            ({"confidence_threshold": 0.8}, "review"),
            ({"detector_thresholds": {"Home Made": 0.8}}, "review"),
            (
                {"detector_thresholds": {"home-made": 0.8}, "branch_thresholds": {"PII": 0.5}},
                "mapped",
            ),
            ({"branch_thresholds": {"PII": 0.5, "PII.Contact": 0.8}}, "review"),
            ({"branch_thresholds": {"SECURITY": 0.9}}, "mapped"),
        ],
    )  # fmt: skip
    def test_go_by_the_file(
        self, api: Callable[..., Any], acme: DemoTenant, settings: Any, mapping: Any, decision: str
    ) -> None:
        configured(settings, **mapping)
        assert self.decision(api, acme) == decision

    def test_a_batch_does_as_well(self, api: Callable[..., Any], acme: DemoTenant) -> None:
        with tenant_context(acme.tenant):
            set_threshold(scope=EVERY, value=0.8, actor=ANN)
        forget_thresholds()
        answer = api("POST", "/map/batch", acme.key, json={"requests": [ITEM] * 3}).json()
        assert [one["decision"] for one in answer["results"]] == ["review"] * 3


def test_the_file_is_the_lower_layer(settings: Any) -> None:
    configured(settings, detector_thresholds={"presidio": 1}, branch_thresholds={"PII": 0.5})
    layer = platform_layer()
    assert (layer.default, layer.detectors, layer.branches) == (0.6, {"presidio": 1}, {"PII": 0.5})


@pytest.fixture
def tenant(new_tenant: Callable[..., Any]) -> Any:
    """A tenant of this test alone, set up and committed."""
    return set_up(new_tenant())


class TestInAProcess:
    def choose_elsewhere(self, tenant: Any, value: float) -> None:
        """Commit a choice as another process would: this one is not told."""

        def choose() -> None:
            with tenant_context(tenant):
                ThresholdOverride.objects.create(
                    number=module.newest_number() + 1, scope=EVERY, value=value, made_by=ANN
                )

        apart(choose)

    def of(self, tenant: Any) -> float:
        return thresholds_in_force(tenant).of("presidio", EMAIL)

    def test_a_choice_made_here_holds_at_once_for_its_tenant_alone(
        self, tenant: Any, spare: DemoTenant
    ) -> None:
        assert (self.of(tenant), self.of(spare.tenant)) == (0.6, 0.6)
        with tenant_context(tenant):
            set_threshold(scope=EVERY, value=0.9, actor=ANN)
        assert (self.of(tenant), self.of(spare.tenant)) == (0.9, 0.6)
        with tenant_context(tenant), transaction.atomic():
            set_threshold(scope=EVERY, value=0.1, actor=ANN)
            transaction.set_rollback(True)
        assert self.of(tenant) == 0.9

    def test_a_choice_made_elsewhere_holds_after_the_refresh(
        self, tenant: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slots, "_REFRESH_SECONDS", 0.5)
        assert self.of(tenant) == 0.6
        self.choose_elsewhere(tenant, 0.8)
        assert self.of(tenant) == 0.6  # nobody has looked yet
        deadline = time.monotonic() + 2
        while self.of(tenant) != 0.8:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_asking_costs_nothing(
        self, tenant: Any, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.of(tenant)
        with django_assert_num_queries(0):
            for _ in range(1_000):
                self.of(tenant)
        monkeypatch.setattr(slots, "_REFRESH_SECONDS", 0.0)
        found = thresholds_in_force(tenant)
        with django_assert_num_queries(2):  # with the SET search_path
            assert thresholds_in_force(tenant) is found  # nothing new: nothing is compiled

    def test_without_the_database_the_last_choice_stays(
        self, tenant: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slots, "_REFRESH_SECONDS", 0.0)
        with tenant_context(tenant):
            set_threshold(scope=EVERY, value=0.9, actor=ANN)
        assert self.of(tenant) == 0.9
        connection.close()
        with monkeypatch.context() as away:
            away.setitem(connection.settings_dict, "PORT", "1")
            assert self.of(tenant) == 0.9
            forget_thresholds()
            with pytest.raises(OperationalError):
                self.of(tenant)
        assert self.of(tenant) == 0.9

    def test_threads_find_it_together_and_choose_one_by_one(self, tenant: Any) -> None:
        def choose(number: int) -> int:
            with tenant_context(tenant):
                value = number / 10
                return set_threshold(scope=EVERY, value=value, actor=ANN).number

        numbers = together([lambda n=n: choose(n) for n in range(1, 7)])
        assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
        last = numbers.index(6) + 1
        assert set(together([lambda: self.of(tenant)] * 8)) == {last / 10}

"""POST /map with labels that no rule knows, by the shipped models."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mapping import chooser, resolvers
from mapping.mode import forget_mode, read_mode
from mapping.models import MappingEvent, ReviewItem
from mapping.resolver.artifacts import Artifacts
from mapping.resolver.types import ModelIdentity
from mapping.review.sweep import sweep
from mapping.switch.services import change_mode, turn_kill_switch_on
from mapping.thresholds import forget_thresholds
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.inference.servers import Server
from tests.support.model_server import Opinion, model_server, responder, sure_of

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
Send = Callable[..., Any]
DESCRIPTION = "Words of zanzibar.quux@example.org that a vendor wrote"


@pytest.fixture(autouse=True)
def hybrid() -> Iterator[None]:
    """Rules first, then the models, whatever the file says; nothing of it outlives the test."""
    forget_mode()
    choose("hybrid")
    yield
    forget_mode()


def choose(mode: str) -> None:
    if read_mode().mode != mode:
        change_mode(mode=mode, reason="", actor="user:ann")  # type: ignore[arg-type]
    forget_mode()


@pytest.fixture(scope="module")
def identity() -> ModelIdentity:
    found = Artifacts.load().calibrators[1].identity
    assert found is not None
    return found


@pytest.fixture
def with_server(settings: Any, identity: ModelIdentity) -> Iterator[Callable[..., Any]]:
    """with_server(url): from now on this process asks the model there."""

    def start_anew() -> None:
        chooser._chooser_of.cache_clear()
        resolvers._cache.cache_clear()
        resolvers._RESOLVERS._kept.clear()

    def use(url: str, timeout_ms: int = 5_000) -> None:
        section = settings.CONFIG.inference.model_copy(
            update={
                "backend": "embedded", "url": url, "model": identity.base,
                "adapter": identity.adapter, "timeout_ms": timeout_ms,
            }
        )  # fmt: skip
        settings.CONFIG = settings.CONFIG.model_copy(update={"inference": section})
        start_anew()

    yield use
    start_anew()


def presidio(*labels: str, **more: Any) -> dict[str, Any]:
    found = [{"entity_type": one, "start": 0, "end": 4, "score": 0.9} for one in labels]
    return {"detector": "presidio", "output": found, **more}


def own(*labels: str, **more: Any) -> dict[str, Any]:
    """An output of a detector that has no file."""
    found = [{"label": one, "score": 0.9} for one in labels]
    return {"detector": "acme-scanner", "output": found, **more}


def stored(demo: DemoTenant) -> list[MappingEvent]:
    with tenant_context(demo.tenant):
        return list(MappingEvent.objects.order_by("id"))


def waiting(demo: DemoTenant) -> dict[str | None, ReviewItem]:
    with tenant_context(demo.tenant):
        sweep()
        return {item.label: item for item in ReviewItem.objects.all()}


class TestRetrieval:
    @pytest.mark.parametrize("item", [presidio, own])
    def test_a_label_is_mapped_and_the_event_says_how(
        self, send: Send, acme: DemoTenant, item: Callable[..., Any]
    ) -> None:
        answer = send(item("PASSPORT_DOCUMENT_NUMBER"))
        assert (answer["decision"], answer["taxonomy"]) == ("mapped", ["PII.Identifier.Passport"])
        (finding,) = answer["findings"]
        assert finding["method"] == "retrieval"
        assert finding["confidence"] == answer["confidence"] > 0.6
        assert finding["candidates"][0][0] == "PII.Identifier.Passport"
        assert len(finding["candidates"]) == 5
        info = answer["version_info"]
        artifacts = Artifacts.load()
        assert info["model"] == answer["provenance"]["model"]
        assert info["model"] == f"encoder@{artifacts.encoder_digest[:12]}"
        assert info["calibrator"] == artifacts.calibrators[0].version
        (event,) = stored(acme)
        assert event.findings == answer["findings"]
        assert (event.model_version, event.calibrator_version) == (
            info["model"], info["calibrator"],
        )  # fmt: skip

    def test_what_rules_know_is_theirs(self, send: Send) -> None:
        answer = send(presidio("US_SSN"))
        assert [one["method"] for one in answer["findings"]] == ["rule"]
        assert answer["version_info"]["model"] is None
        answer = send(presidio("US_SSN", "PASSPORT_DOCUMENT_NUMBER"))
        assert [one["method"] for one in answer["findings"]] == ["rule", "retrieval"]

    def test_one_that_means_nothing_waits_for_a_person(self, send: Send, acme: DemoTenant) -> None:
        answer = send(own("zorblax quumble"))
        assert answer["decision"] in ("fallback", "review")
        (finding,) = answer["findings"]
        assert len(finding["candidates"]) == 5
        assert answer["version_info"]["calibrator"]
        item = waiting(acme)["zorblax quumble"]
        assert item.candidates == [list(one) for one in finding["candidates"]]

    def test_one_that_says_nothing_was_found_is_safe(self, send: Send) -> None:
        answer = send(own("no finding benign"))
        assert (answer["decision"], answer["taxonomy"]) == ("safe", ["OTHER.Safe"])
        assert answer["version_info"]["calibrator"]

    def test_the_vendors_words_help_and_are_kept_nowhere(
        self, send: Send, acme: DemoTenant, caplog: pytest.LogCaptureFixture
    ) -> None:
        meaning = "The text holds the number of a payment card"
        alone, told = send(own("ZQ-17")), send(own("ZQ-17", label_descriptions={"ZQ-17": meaning}))
        assert alone["taxonomy"] != told["taxonomy"] == ["PII.Financial.CreditCard"]
        send(own("ZQ-18", label_descriptions={"ZQ-18": DESCRIPTION}))
        waiting(acme)
        with tenant_context(acme.tenant):
            rows = [
                *MappingEvent.objects.values(), *ReviewItem.objects.values(),
            ]  # fmt: skip
        for place in (repr(rows), caplog.text):
            assert "payment card" not in place
            assert "zanzibar" not in place

    def test_a_label_that_may_not_be_recorded_is_not_asked_about(
        self, send: Send, acme: DemoTenant
    ) -> None:
        text = "mail zanzibar.quux@example.org the credit card number"
        answer = send(own(text))
        assert all(one["source_label"] is None for one in answer["findings"])
        assert all(one["method"] in ("none", "rule") for one in answer["findings"])
        assert "zanzibar" not in repr((answer, [vars(event) for event in stored(acme)]))


def test_a_batch_is_answered_as_its_items_are_alone(api: Api, acme: DemoTenant, send: Send) -> None:
    things = ["credit card", "passport", "weapon", "insult", "jailbreak", "api key"]
    words = ["report", "hit", "flag", "alarm", "event", "notice", "signal", "match", "case", "mark"]
    labels = [f"{thing} {word}" for thing in things for word in words]
    assert len(set(labels)) == 60
    items = [own(labels[n % 60]) if n % 2 else presidio(labels[n % 60]) for n in range(100)]
    alone = [strip(send(item)) for item in items]
    answer = api("POST", "/map/batch", acme.key, json={"requests": items})
    assert answer.status_code == 200
    assert [strip(one) for one in answer.json()["results"]] == alone
    assert {"mapped"} < {one["decision"] for one in alone}


def strip(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from call to call."""
    left = {**answer, "provenance": {**answer["provenance"], "ts": None}}
    del left["event_id"]
    return left


class TestModes:
    def test_under_the_kill_switch_no_model_answers(
        self, send: Send, acme: DemoTenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn_kill_switch_on(reason="", actor="user:ann")
        forget_mode()
        monkeypatch.setattr(resolvers, "_resolver", None)  # even asking for them would fail
        resolvers._RESOLVERS._kept.clear()
        answer = send(presidio("US_SSN", "PASSPORT_DOCUMENT_NUMBER"))
        assert [one["method"] for one in answer["findings"]] == ["rule", "none"]
        assert answer["version_info"]["model"] is answer["version_info"]["calibrator"] is None
        assert "candidates" not in answer["findings"][1]

    def test_model_first_a_sure_model_wins_over_a_rule_and_an_unsure_one_does_not(
        self, send: Send, settings: Any
    ) -> None:
        item = presidio("US_SSN", "URL")
        by_rules = send(item)
        assert {one["method"] for one in by_rules["findings"]} == {"rule"}
        choose("model_first")
        by_models = {one["source_label"]: one for one in send(item)["findings"]}
        assert by_models["US_SSN"]["method"] == "retrieval"
        assert by_models["US_SSN"]["canonical"] == "PII.Identifier.SSN"
        # Unsure of the labels, sure of the branch: what a rule says is better than a branch.
        strict = settings.CONFIG.mapping.model_copy(
            update={"confidence_threshold": 1.0, "branch_thresholds": {"PII.Identifier.Other": 0.0}}
        )
        settings.CONFIG = settings.CONFIG.model_copy(update={"mapping": strict})
        forget_thresholds()
        answer = send(item)
        methods = {one["source_label"]: one["method"] for one in answer["findings"]}
        forget_thresholds()
        assert methods == {"US_SSN": "rule", "URL": "rule"}


class TestTheModelsServer:
    @contextmanager
    def serving(self, identity: ModelIdentity, think: Opinion) -> Iterator[str]:
        with model_server(identity, think) as server:
            yield server.url

    def test_what_it_says_is_told_with_its_version(
        self, send: Send, acme: DemoTenant, identity: ModelIdentity,
        with_server: Callable[..., Any],
    ) -> None:  # fmt: skip
        with self.serving(identity, sure_of("identifier passport")) as url:
            with_server(url)
            answer = send(own("PASSPORT_DOCUMENT_NUMBER"))
        (finding,) = answer["findings"]
        assert (finding["method"], finding["canonical"]) == ("model", "PII.Identifier.Passport")
        assert "embedded:mapper-lora-0.1.0@" in answer["version_info"]["model"]
        assert answer["version_info"]["calibrator"] == Artifacts.load().calibrators[1].version
        (event,) = stored(acme)
        assert event.model_version == answer["version_info"]["model"]

    def test_down_it_is_done_without(self, send: Send, with_server: Callable[..., Any]) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with_server(f"http://127.0.0.1:{closed.getsockname()[1]}")
            answer = send(own("PASSPORT_DOCUMENT_NUMBER"))
        assert [one["method"] for one in answer["findings"]] == ["retrieval"]
        assert answer["version_info"]["calibrator"] == Artifacts.load().calibrators[0].version

    def test_slow_it_is_waited_for_no_longer_than_the_budget(
        self, api: Api, acme: DemoTenant, send: Send, identity: ModelIdentity,
        with_server: Callable[..., Any],
    ) -> None:  # fmt: skip
        good = responder(identity)

        def slow(method: str, path: str, body: Any) -> Any:
            time.sleep(3)
            return good(method, path, body)

        send(own("warm up"))  # the models are loaded at the first question
        with Server(slow).running() as server:
            with_server(server.url, timeout_ms=300)
            resolvers.resolver_of(send(presidio("US_SSN"))["version_info"]["release"])
            started = time.monotonic()
            answer = send(own("PASSPORT_DOCUMENT_NUMBER"))
            assert time.monotonic() - started < 1.5
        assert [one["method"] for one in answer["findings"]] == ["retrieval"]

"""Who answers which label, and that answers and events name the version that did."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from mapping.asking import models_in_force
from mapping.models import MappingEvent
from mapping.resolver.types import LabelQuestion
from mapping.selectors import engine_in_force
from mapping.serving.routing import router, share_of
from mapping.serving.services import end_trial, serve_live, serve_previous, start_trial
from mapping.serving.types import ServedModel, Serving
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.inference.servers import Reply, Server, as_json, worker_answer, worker_models
from tests.serving.conftest import ANN, version

Api = Callable[..., Any]
LIVE, TRIAL = version("0.2.0"), version("0.3.0")
LABELS = [f"BADGE_NUMBER_{n}" for n in range(40)]


def respond(models: list[ServedModel]) -> Callable[[str, str, Any], Reply]:
    """Like our worker with several adapters: each is sure of another letter."""

    def answer(_method: str, path: str, body: Any) -> Reply:
        if path == "/v1/models":
            cards = []
            for one in models:
                card = worker_models(one.adapter, one.base, one.adapter_sha256, one.version)
                cards.append({**card["data"][0], "base_sha256": one.base_sha256})
            return as_json({"object": "list", "data": cards})
        chosen = [one for one in models if one.adapter == body["model"]]
        if not chosen:
            return as_json({"error": {}}, 404)
        return as_json(worker_answer(body, {"A": -0.01, "B": -5.0}, chosen[0].version))

    return answer


@contextmanager
def serving_both(*models: ServedModel) -> Iterator[Server]:
    with Server(respond(list(models))).running() as server:
        yield server


def question(label: str) -> LabelQuestion:
    return LabelQuestion("acme-scanner", label)


class TestRouter:
    TENANT, OTHER = uuid.uuid4(), uuid.uuid4()

    def of(self, tenant: uuid.UUID, **trial: Any) -> list[str]:
        serving = Serving(1, LIVE, TRIAL, **trial)
        arm_of = router(serving, tenant)
        found = [arm_of(question(label)) for label in LABELS]
        return [one.version if one else "" for one in found]

    def test_without_a_trial_the_live_one_answers(self) -> None:
        assert {router(Serving(1, LIVE), self.TENANT)(question(one)) for one in LABELS} == {LIVE}
        assert router(Serving(), self.TENANT)(question("A")) is None

    def test_a_tenant_of_the_trial_and_no_other(self) -> None:
        tenants = frozenset({self.TENANT})
        assert set(self.of(self.TENANT, trial_tenants=tenants)) == {TRIAL.version}
        assert set(self.of(self.OTHER, trial_tenants=tenants)) == {LIVE.version}

    def test_in_the_shadow_it_answers_nobody(self) -> None:
        assert set(self.of(self.TENANT, shadow=True)) == {LIVE.version}

    def test_a_share_is_sticky_the_same_for_all_and_grows(self) -> None:
        quarter = self.of(self.TENANT, trial_share=0.25)
        assert quarter == self.of(self.OTHER, trial_share=0.25)
        assert 2 < quarter.count(TRIAL.version) < 20
        half = self.of(self.TENANT, trial_share=0.5)
        assert all(
            a != TRIAL.version or b == TRIAL.version for a, b in zip(quarter, half, strict=True)
        )
        assert set(self.of(self.TENANT, trial_share=1.0)) == {TRIAL.version}

    def test_the_share_is_even_and_another_trial_draws_others(self) -> None:
        places = [share_of(question(f"L{n}"), TRIAL.version) for n in range(4_000)]
        assert sum(one < 0.3 for one in places) / len(places) == pytest.approx(0.3, abs=0.03)
        other = [share_of(question(f"L{n}"), LIVE.version) for n in range(4_000)]
        both = sum(a < 0.3 and b < 0.3 for a, b in zip(places, other, strict=True))
        assert both / len(places) == pytest.approx(0.09, abs=0.02)

    def test_a_description_changes_no_side(self) -> None:
        one = question("BADGE_NO")
        assert share_of(one, "v") == share_of(one._replace(description="a badge"), "v")


@pytest.mark.django_db
class TestAnswers:
    @pytest.fixture
    def send(self, api: Api, acme: DemoTenant) -> Callable[..., Any]:
        def post(*labels: str, demo: DemoTenant = acme) -> Any:
            found = [{"label": one, "score": 0.9} for one in labels]
            item = {"detector": "acme-scanner", "output": found}
            answer = api("POST", "/map", demo.key, json=item)
            assert answer.status_code == 200, answer.content
            return answer.json()

        return post

    @staticmethod
    def named(model: ServedModel) -> str:
        return f"embedded:{model.adapter}@{model.adapter_sha256[:12]}"

    def test_promoted_and_rolled_back_the_answers_say_so(
        self, with_server: Callable[..., None], send: Any, acme: DemoTenant
    ) -> None:
        with serving_both(LIVE, TRIAL) as server:
            with_server(server.url)
            for turn in (
                lambda: serve_live(model=LIVE, reason="", actor=ANN),
                lambda: serve_live(model=TRIAL, reason="", actor=ANN),
                lambda: serve_previous(reason="", actor=ANN),
            ):
                choice = turn()
                forget()
                model = ServedModel.of(choice.live)
                info = send("BADGE_NUMBER")["version_info"]
                assert info["model"].endswith(self.named(model))
                assert info["calibrator"] == model.calibrator.version  # type: ignore[union-attr]
        with tenant_context(acme.tenant):
            rows = MappingEvent.objects.order_by("id").values_list("model_version", flat=True)
            found = [row.rpartition("lora-")[2].partition("@")[0] for row in rows]
        assert found == ["0.2.0", "0.3.0", "0.2.0"]

    def test_a_trial_for_a_tenant_answers_it_alone(
        self, with_server: Callable[..., None], send: Any, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        with serving_both(LIVE, TRIAL) as server:
            with_server(server.url)
            serve_live(model=LIVE, reason="", actor=ANN)
            start_trial(model=TRIAL, tenants=[globex.tenant.id], reason="", actor=ANN)
            forget()
            for demo, model in ((acme, LIVE), (globex, TRIAL), (acme, LIVE)):
                answer = send("BADGE_NUMBER", demo=demo)
                assert answer["version_info"]["model"].endswith(self.named(model))
            end_trial(reason="", actor=ANN)
            forget()
            answer = send("BADGE_NUMBER", demo=globex)
            assert answer["version_info"]["model"].endswith(self.named(LIVE))

    def test_an_output_that_both_share_names_both(
        self, with_server: Callable[..., None], send: Any
    ) -> None:
        with serving_both(LIVE, TRIAL) as server:
            with_server(server.url)
            serve_live(model=LIVE, reason="", actor=ANN)
            start_trial(model=TRIAL, share=0.5, reason="", actor=ANN)
            forget()
            info = send(*LABELS[:12])["version_info"]
            assert self.named(LIVE) in info["model"]
            assert self.named(TRIAL) in info["model"]
            assert " + " in info["calibrator"]

    def test_a_version_that_is_not_loaded_leaves_retrieval(
        self, with_server: Callable[..., None], send: Any
    ) -> None:
        with serving_both(LIVE) as server:
            with_server(server.url)
            serve_live(model=TRIAL, reason="", actor=ANN)
            forget()
            answer = send("PASSPORT_DOCUMENT_NUMBER")
            assert answer["findings"][0]["method"] == "retrieval"
            assert "embedded:" not in answer["version_info"]["model"]

    def test_another_adapter_under_the_name_is_not_believed(
        self, with_server: Callable[..., None], send: Any
    ) -> None:
        with serving_both(replace(LIVE, adapter_sha256="f" * 64)) as server:
            with_server(server.url)
            serve_live(model=LIVE, reason="", actor=ANN)
            forget()
            answer = send("PASSPORT_DOCUMENT_NUMBER")
            assert "embedded:" not in answer["version_info"]["model"]

    def test_a_request_stays_with_what_it_has_begun_with(
        self, with_server: Callable[..., None], acme: DemoTenant
    ) -> None:
        from tenants.selectors import TenantRef

        with serving_both(LIVE, TRIAL) as server:
            with_server(server.url)
            serve_live(model=LIVE, reason="", actor=ANN)
            forget()
            models = models_in_force(TenantRef.of(acme.tenant), engine_in_force().serial)
            assert models is not None
            serve_live(model=TRIAL, reason="", actor=ANN)
            forget()
            (verdict,) = models.resolve([question("BADGE_NUMBER")]).values()
            assert verdict.by.model.endswith(self.named(LIVE))

    def test_versions_and_health_name_the_served(
        self, with_server: Callable[..., None], api: Api, acme: DemoTenant
    ) -> None:
        with serving_both(LIVE, TRIAL) as server:
            with_server(server.url)
            serve_live(model=LIVE, reason="", actor=ANN)
            start_trial(model=TRIAL, share=0.5, shadow=True, reason="", actor=ANN)
            forget()
            served = {"live": LIVE.version, "trial": TRIAL.version, "shadow": TRIAL.version}
            assert api("GET", "/versions", acme.key).json()["served"] == served
            ready = api("GET", "/health/ready").json()
            assert ready["served"] == served
            assert ready["parts"]["inference"] == "ok"
            server.respond = respond([LIVE])
            said = api("GET", "/health/ready").json()["parts"]["inference"]
            assert "on trial does not answer" in said


def forget() -> None:
    """What is chosen inside the test's transaction is not told to the process."""
    from mapping.serving.in_force import forget_serving

    forget_serving()

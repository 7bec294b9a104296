"""The version on trial beside the live one: what is counted, what is dropped, what is compared."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pgtrigger
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY

from access.users.services import ensure_user
from audit.models import AuditEntry
from mapping.asking import ModelsInForce
from mapping.models import ReviewItem, ShadowAnswer
from mapping.resolver.types import LabelQuestion
from mapping.resolvers import resolver_of
from mapping.review.services import decide
from mapping.review.sweep import sweep
from mapping.selectors import engine_in_force
from mapping.services import MapItem, Origin, map_items
from mapping.serving import shadow
from mapping.serving.comparison import compare
from mapping.serving.in_force import forget_serving
from mapping.serving.models import ServingChoice
from mapping.serving.services import serve_live, start_trial
from mapping.serving.types import ServedModel, Serving
from mapping.switch.models import ModeChoice
from tenants.context import tenant_context
from tenants.selectors import TenantRef
from tests.conftest import PASSWORD, DemoTenant
from tests.inference.servers import Reply, Server, as_json, worker_answer, worker_models
from tests.serving.conftest import ANN, version

LIVE, TRIAL = version("0.2.0"), version("0.3.0")
# What each version is sure of, by words of an option's line.
WORDS = {LIVE.adapter: "e-mail", TRIAL.adapter: "phone"}


def respond(_method: str, path: str, body: Any) -> Reply:
    if path == "/v1/models":
        cards = []
        for one in (LIVE, TRIAL):
            card = worker_models(one.adapter, one.base, one.adapter_sha256, one.version)
            cards.append({**card["data"][0], "base_sha256": one.base_sha256})
        return as_json({"object": "list", "data": cards})
    model = next(one for one in (LIVE, TRIAL) if one.adapter == body["model"])
    lines = body["messages"][-1]["content"].splitlines()
    options = [line for line in lines if line[1:2] == " "]
    chosen = next((one for one in options if WORDS[model.adapter] in one), options[-1])
    told = {one[0]: -0.001 if one is chosen else -9.0 for one in options}
    return as_json(worker_answer(body, told, model.version))


@contextmanager
def both() -> Iterator[Server]:
    with Server(respond).running() as server:
        yield server


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("pillars_shadow_questions_total", {"outcome": outcome}) or 0.0


class TestAsking:
    @pytest.fixture(autouse=True)
    def clean(self, spare: DemoTenant, with_server: Callable[..., None]) -> Iterator[None]:
        shadow._line._recent.clear()
        yield
        shadow.wait_until_done()
        with pgtrigger.ignore():
            ModeChoice.objects.all().delete()
            AuditEntry.objects.filter(actor=ANN).delete()
        with tenant_context(spare.tenant):
            ShadowAnswer.objects.all().delete()

    def resolve(self, spare: DemoTenant, *questions: LabelQuestion, **trial: Any) -> None:
        serving = Serving(1, LIVE, TRIAL, **{"shadow": True, **trial})
        tenant = TenantRef.of(spare.tenant)
        models = ModelsInForce(engine_in_force().serial, False, tenant, serving)
        assert len(models.resolve(questions)) == len(questions)
        shadow.wait_until_done()

    @staticmethod
    def rows(spare: DemoTenant) -> list[ShadowAnswer]:
        with tenant_context(spare.tenant):
            return list(ShadowAnswer.objects.order_by("label"))

    def test_both_answers_are_kept_and_no_words_but_the_labels(
        self, with_server: Callable[..., None], spare: DemoTenant
    ) -> None:
        one = LabelQuestion("acme-scanner", "CONTACT", "Email or phone of a zebra")
        names = ("CONTACT", "CONTACT_DETAILS", "EMAIL_OR_PHONE", "HOW_TO_REACH", "REACHED_AT")
        questions = [one._replace(label=name) for name in names]
        with both() as server:
            with_server(server.url)
            self.resolve(spare, *questions)
            salts = {body["cache_salt"] for _, _, body in server.asked if body}
            asked = {body["model"] for _, _, body in server.asked if body}
            serial = engine_in_force().serial
            live, trial = (
                [resolver.resolve([question])[question].labels[0] for question in questions]
                for resolver in (resolver_of(serial, LIVE), resolver_of(serial, TRIAL))
                if resolver is not None
            )
        assert asked == {LIVE.adapter, TRIAL.adapter}
        assert len(salts) == 1, "the tenant's prompts are kept apart as in its own requests"
        rows = self.rows(spare)
        assert [row.label for row in rows] == list(names)
        assert [row.live_label for row in rows] == live
        assert [row.trial_label for row in rows] == trial
        assert live != trial
        for row in rows:
            assert (row.live, row.trial) == (LIVE.version, TRIAL.version)
            assert row.asked == 1
            assert "zebra" not in str(vars(row))

    def test_what_may_not_be_recorded_is_not_kept(
        self,
        with_server: Callable[..., None],
        spare: DemoTenant,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        serving = Serving(1, LIVE, TRIAL, shadow=True)
        monkeypatch.setattr("mapping.asking.serving_in_force", lambda: serving)
        canary = "zanzibar.quux@example.org"
        texts = (canary, f"mail to {canary} at once", "4111 1111 1111 1111", "CONTACT_PERSON")
        item = MapItem(
            detector=f"mail {canary}", output=[{"label": one} for one in texts],
            label_descriptions={"CONTACT_PERSON": f"words of {canary}"},
        )  # fmt: skip
        origin = Origin(TenantRef.of(spare.tenant), uuid.uuid4(), "r")
        with both() as server:
            with_server(server.url)
            map_items(origin=origin, items=[item])
            shadow.wait_until_done()
        (row,) = self.rows(spare)
        assert row.label == "CONTACT_PERSON"
        kept = str(vars(row))
        assert not any(word in kept for word in ("zanzibar", "quux", "4111", "words"))

    def test_the_same_label_is_asked_once_in_a_while(
        self, with_server: Callable[..., None], spare: DemoTenant
    ) -> None:
        question = LabelQuestion("acme-scanner", "EMAIL_OR_PHONE")
        with both() as server:
            with_server(server.url)
            for _ in range(3):
                self.resolve(spare, question)
            assert [row.asked for row in self.rows(spare)] == [1]
            shadow._line._recent.clear()
            self.resolve(spare, question)
        assert [row.asked for row in self.rows(spare)] == [2]

    def test_without_shadow_nobody_is_asked(
        self, with_server: Callable[..., None], spare: DemoTenant
    ) -> None:
        with both() as server:
            with_server(server.url)
            self.resolve(spare, LabelQuestion("d", "EMAIL_OR_PHONE"), shadow=False, trial_share=0.0)
            asked = {body["model"] for _, _, body in server.asked if body}
        assert asked == {LIVE.adapter}
        assert self.rows(spare) == []

    def test_a_full_line_drops_and_the_limit_holds(
        self,
        with_server: Callable[..., None],
        spare: DemoTenant,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before = counted("dropped")
        questions = [LabelQuestion("d", f"EMAIL_KIND_{n}") for n in range(6)]
        with both() as server:
            with_server(server.url)
            with monkeypatch.context() as full:
                import queue

                def refuse(_asked: object) -> None:
                    raise queue.Full

                full.setattr(shadow._line._waiting, "put_nowait", refuse)
                self.resolve(spare, *questions)
            assert counted("dropped") == before + 6
            assert self.rows(spare) == []
            shadow._line._recent.clear()
            monkeypatch.setattr(shadow, "MOST_LABELS", 4)
            self.resolve(spare, *questions)
        assert len(self.rows(spare)) == 4

    def test_old_rows_go(self, spare: DemoTenant) -> None:
        today = timezone.now().date()
        with tenant_context(spare.tenant):
            for days in (0, 200):
                day = today - timedelta(days=days)
                ShadowAnswer.objects.create(
                    live="a", trial="b", detector="d", label=f"L{days}", live_label="x",
                    trial_label="y", asked=1, first_day=day, last_day=day,
                )  # fmt: skip
            assert shadow.forget_old_answers() == 1
            assert [row.label for row in ShadowAnswer.objects.all()] == ["L0"]


@pytest.mark.django_db
class TestComparing:
    LABELS = [f"EMAIL_OR_PHONE_{n}" for n in range(24)]

    @pytest.fixture
    def sent(
        self, api: Callable[..., Any], acme: DemoTenant, with_server: Callable[..., None]
    ) -> dict[str, ServedModel]:
        """Label -> who answered it, in a trial by half of the labels; each was sent twice."""
        found = {}
        with both() as server:
            with_server(server.url)
            serve_live(model=LIVE, reason="", actor=ANN)
            start_trial(model=TRIAL, share=0.5, reason="", actor=ANN)
            forget_serving()
            for label in self.LABELS * 2:
                item = {"detector": "acme-scanner", "output": [{"label": label, "score": 0.9}]}
                answer = api("POST", "/map", acme.key, json=item).json()
                name = answer["version_info"]["model"]
                found[label] = LIVE if LIVE.adapter in name else TRIAL
                assert found[label].adapter in name
        assert len({one.version for one in found.values()}) == 2
        return found

    def decide(self, acme: DemoTenant, canonical: str, labels: list[str]) -> None:
        with tenant_context(acme.tenant):
            sweep()
            items = list(ReviewItem.objects.filter(label__in=labels).values_list("pk", flat=True))
            assert len(items) == len(labels)
            decide(items=items, canonical=[canonical], note="", actor=ANN)

    def test_each_arms_labels_and_what_people_said_later(
        self, sent: dict[str, ServedModel], acme: DemoTenant
    ) -> None:
        live = [label for label in self.LABELS if sent[label] == LIVE]
        found = compare()
        assert found is not None
        assert (found.live.version, found.trial.version) == (LIVE.version, TRIAL.version)
        assert (found.live.labels, found.trial.labels) == (len(live), 24 - len(live))
        assert (found.live.questions, found.trial.questions) == (2 * len(live), 48 - 2 * len(live))
        assert found.live.accepted + found.live.fallback <= found.live.labels
        assert found.live.decided == found.trial.decided == 0
        assert found.tests()["right"] is None
        assert found.skipped == []

    def test_the_same_labels_asked_of_both(
        self, sent: dict[str, ServedModel], acme: DemoTenant
    ) -> None:
        """Six decided pairs: both right, the trial alone four times, none right once."""
        today = timezone.now().date()
        answers = {
            "P0": ("PII.Contact.Phone", "PII.Contact.Phone"),
            **{f"P{n}": ("PII.Contact.Email", "PII.Contact.Phone") for n in range(1, 5)},
            "P5": ("PII.Contact.Email", "PII.Contact.Email"),
            "P6": ("PII.Contact.Email", "PII.Contact.Phone"),  # nobody has decided it
        }
        with tenant_context(acme.tenant):
            from mapping.models import LabelDecision

            for number, (label, (ours, theirs)) in enumerate(answers.items(), 1):
                ShadowAnswer.objects.create(
                    live=LIVE.version, trial=TRIAL.version, detector="acme-scanner", label=label,
                    live_label=ours, trial_label=theirs, asked=3, first_day=today, last_day=today,
                )  # fmt: skip
                if label != "P6":
                    LabelDecision.objects.create(
                        number=9_000 + number, detector="acme-scanner", label=label,
                        canonical=["PII.Contact.Phone"], taxonomy="2026.11", decided_by=ANN,
                    )  # fmt: skip
        found = compare()
        assert found is not None
        pairs = found.pairs
        assert (pairs.labels, pairs.agreed, pairs.decided) == (7, 2, 6)
        assert (pairs.only_live, pairs.only_trial) == (0, 4)
        assert pairs.test == ("McNemar's exact test", 0.125)

    def test_the_page_shows_numbers_and_no_tenants_words(
        self, sent: dict[str, ServedModel], plain_static: None
    ) -> None:
        ensure_user(username="op", password=PASSWORD, superuser=True, actor="system:tests")
        client = Client(headers={"host": "localhost"})
        assert (
            client.post("/admin/login/", {"username": "op", "password": PASSWORD}).status_code
            == 302
        )
        page = client.get("/admin/serving/servingchoice/").content.decode()
        assert LIVE.version in page
        assert TRIAL.version in page
        assert "50%" in page
        page = client.get("/admin/serving/servingchoice/compare/").content.decode()
        assert "Questions" in page
        assert "Fisher" in page or "z-test" in page
        assert "EMAIL_OR_PHONE" not in page

    def test_the_command_says_the_same(self, sent: dict[str, ServedModel]) -> None:
        import json

        out = StringIO()
        call_command("trial", "status", "--json", stdout=out)
        said = json.loads(out.getvalue())
        assert (said["live"], said["trial"], said["share"]) == (LIVE.version, TRIAL.version, 0.5)
        assert said["of_live"]["labels"] + said["of_trial"]["labels"] == 24
        call_command("trial", "change", "--share", "0.25", "--shadow", stdout=out)
        choice = ServingChoice.objects.first()
        assert choice is not None
        assert (choice.trial_share, choice.shadow, choice.made_by) == (0.25, True, "system:trial")
        call_command("trial", "end", stdout=out)
        assert compare() is None
        for words, said_so in (
            (("end",), "No version is on trial"),
            (("change", "--tenant", "nobody-here"), "no tenant nobody-here"),
            (("start",), "Name the version's folder"),
            (("start", "/nowhere"), "holds no adapter"),
        ):
            with pytest.raises(CommandError, match=said_so):
                call_command("trial", *words, stdout=out)


def test_pages_of_a_platform_that_has_promoted_nothing(db: None, plain_static: None) -> None:
    person = ensure_user(username="op", password=PASSWORD, superuser=True, actor="system:tests")
    client = Client(headers={"host": "localhost"})
    client.force_login(person)
    page = client.get("/admin/serving/servingchoice/").content.decode()
    assert "Nobody has chosen a model yet" in page
    assert "manage.py promote" in page
    assert 'href="/admin/training/modelversion/">Versions of models</a>' in page
    page = client.get("/admin/serving/servingchoice/compare/").content.decode()
    assert "No version is on trial" in page
    assert "manage.py trial start FOLDER --share 0.1 --shadow" in page

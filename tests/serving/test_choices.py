"""Promote, roll back, try beside: the rows, what they refuse, and what a process sees of them."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pgtrigger
import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction
from prometheus_client import REGISTRY

from audit.models import AuditEntry
from mapping import watching
from mapping.serving import in_force
from mapping.serving.errors import NothingToDoError, NothingToRollBackError, ServingError
from mapping.serving.history import models_to_keep
from mapping.serving.in_force import forget_serving, read_serving, serving_in_force
from mapping.serving.models import ServingChoice
from mapping.serving.services import (
    change_trial,
    end_trial,
    serve_live,
    serve_previous,
    start_trial,
)
from mapping.serving.types import ServedModel, Serving
from mapping.switch.models import ModeChoice
from tests.conftest import DemoTenant
from tests.serving.conftest import ANN, version
from tests.support.threads import apart

ONE, TWO, THREE = version("0.2.0"), version("0.3.0"), version("0.4.0")


def promote(model: ServedModel) -> ServingChoice:
    return serve_live(model=model, reason="Better.", actor=ANN)


@pytest.mark.django_db
class TestChoices:
    @pytest.fixture(autouse=True)
    def server(self, with_server: Callable[..., None]) -> None:
        with_server()

    def test_without_rows_the_file_holds(self) -> None:
        assert read_serving() == Serving()
        assert models_to_keep() == []
        with pytest.raises(NothingToRollBackError, match="nothing to roll back to"):
            serve_previous(reason="", actor=ANN)

    def test_promotions_and_the_way_back(self) -> None:
        promote(ONE)
        assert read_serving().live == ONE
        assert models_to_keep() == [ONE]
        promote(TWO)
        assert [one.version for one in models_to_keep()] == [TWO.version, ONE.version]
        serve_previous(reason="Worse.", actor=ANN)
        assert read_serving().live == ONE
        serve_previous(reason="Worse still.", actor=ANN)
        assert (read_serving().live, read_serving().number) == (None, 4)
        with pytest.raises(NothingToRollBackError):
            serve_previous(reason="", actor=ANN)
        promote(TWO)
        assert read_serving().live == TWO
        entries = AuditEntry.objects.filter(actor=ANN, action__startswith="serving.").order_by("id")
        assert [(one.action, one.target) for one in entries] == [
            ("serving.promoted", ONE.version), ("serving.promoted", TWO.version),
            ("serving.rolled_back", ONE.version), ("serving.rolled_back", "pillars.yaml"),
            ("serving.promoted", TWO.version),
        ]  # fmt: skip

    def test_a_trial(self, acme: DemoTenant) -> None:
        promote(ONE)
        tenant = acme.tenant.id
        start_trial(model=TWO, tenants=[tenant], share=0.25, shadow=True, reason="", actor=ANN)
        found = read_serving()
        assert (found.live, found.trial) == (ONE, TWO)
        assert (found.trial_tenants, found.trial_share, found.shadow) == ({tenant}, 0.25, True)
        assert [one.version for one in models_to_keep()] == [ONE.version, TWO.version]
        change_trial(tenants=[], share=0.5, reason="", actor=ANN)
        found = read_serving()
        assert (found.trial_tenants, found.trial_share, found.shadow) == (frozenset(), 0.5, True)
        with pytest.raises(NothingToDoError, match="so already"):
            change_trial(share=0.5, reason="", actor=ANN)
        end_trial(reason="", actor=ANN)
        assert (read_serving().live, read_serving().trial) == (ONE, None)
        with pytest.raises(ServingError, match="No version is on trial"):
            end_trial(reason="", actor=ANN)

    def test_a_promotion_ends_the_trial(self) -> None:
        start_trial(model=ONE, share=0.1, reason="", actor=ANN)
        promote(ONE)
        assert (read_serving().live, read_serving().trial) == (ONE, None)

    def test_what_a_trial_refuses(self, acme: DemoTenant) -> None:
        promote(ONE)
        nobody = uuid.uuid4()
        for words, given in (
            ("between 0 and 1", {"share": 1.1}),
            ("between 0 and 1", {"share": -0.1}),
            ("between 0 and 1", {"share": float("nan")}),
            (f"no active tenant {nobody}", {"tenants": [nobody, acme.tenant.id]}),
            ("answer nobody", {}),
        ):
            with pytest.raises(ServingError, match=words):
                start_trial(model=TWO, reason="", actor=ANN, **given)  # type: ignore[arg-type]
        with pytest.raises(NothingToDoError, match="live already"):
            start_trial(model=ONE, share=0.5, reason="", actor=ANN)
        start_trial(model=TWO, share=0.5, reason="", actor=ANN)
        with pytest.raises(ServingError, match="on trial already"):
            start_trial(model=THREE, share=0.5, reason="", actor=ANN)
        with pytest.raises(ServingError, match="answer nobody"):
            change_trial(share=0.0, reason="", actor=ANN)

    def test_what_a_promotion_refuses(self) -> None:
        promote(ONE)
        with pytest.raises(NothingToDoError, match="live already"):
            promote(ONE)
        with pytest.raises(ServingError, match="a name of its own"):
            promote(replace(ONE, version="mapper-lora@v9.0.0"))
        assert ServingChoice.objects.count() == 1

    @pytest.mark.parametrize(
        ("what", "changed"),
        [
            ("kind of server", {"backend": "vllm"}),
            ("base model", {"base_digest": "0" * 64}),
            ("adapter", {"adapter_digest": "0" * 64}),
            ("prompt", {"prompt": "another"}),
        ],
    )
    def test_a_calibrator_of_another_model_is_refused(
        self, what: str, changed: dict[str, str]
    ) -> None:
        calibrator = ONE.calibrator
        assert calibrator is not None
        assert calibrator.identity is not None
        other = replace(calibrator, identity=replace(calibrator.identity, **changed))
        with pytest.raises(ServingError, match=f"fitted for another {what}"):
            promote(replace(ONE, calibrator=other))

    def test_a_calibrator_of_other_parts_is_refused(self) -> None:
        calibrator = ONE.calibrator
        assert calibrator is not None
        for what, other in (
            ("fitted for another encoder", replace(calibrator, encoder="0" * 64)),
            ("fitted for another taxonomy", replace(calibrator, edition="2031.02")),
            ("no calibrator for a language model", replace(calibrator, identity=None)),
        ):
            with pytest.raises(ServingError, match=what):
                promote(replace(ONE, calibrator=other))

    def test_without_a_server_nothing_is_served(self, settings: Any) -> None:
        section = settings.CONFIG.inference.model_copy(update={"backend": "none"})
        settings.CONFIG = settings.CONFIG.model_copy(update={"inference": section})
        with pytest.raises(ServingError, match="No server of a language model"):
            promote(ONE)

    def test_a_row_of_an_earlier_pillars_leaves_retrieval(self) -> None:
        document = ONE.as_json()
        document["calibrator"]["bare"]["features"] = [1.0]
        ServingChoice.objects.create(number=1, kind="promoted", live=document, made_by=ANN)
        found = read_serving().live
        assert found is not None
        assert (found.version, found.calibrator) == (ONE.version, None)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE serving_servingchoice SET live = NULL",
            "DELETE FROM serving_servingchoice",
            "TRUNCATE serving_servingchoice",
        ],
    )
    def test_rows_stay_as_they_are(self, statement: str) -> None:
        promote(ONE)
        with (
            pytest.raises(DatabaseError),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)

    def test_the_database_knows_no_share_without_a_trial(self) -> None:
        for given in ({"trial_share": 0.5}, {"shadow": True}, {"trial_tenants": [uuid.uuid4()]}):
            with pytest.raises(DatabaseError), transaction.atomic():
                ServingChoice.objects.create(number=1, kind="trial_ended", made_by=ANN, **given)
        with pytest.raises(DatabaseError), transaction.atomic():
            ServingChoice.objects.create(
                number=1, kind="trial_started", trial=TWO.as_json(), trial_share=1.5, made_by=ANN
            )


class TestInAProcess:
    @pytest.fixture(autouse=True)
    def clean(self, committed: None, with_server: Callable[..., None]) -> Iterator[None]:
        yield
        with pgtrigger.ignore():
            ServingChoice.objects.all().delete()
            ModeChoice.objects.all().delete()
            AuditEntry.objects.filter(actor=ANN).delete()

    def elsewhere(self, model: ServedModel) -> None:
        """Commit a choice as another process would: this one is not told."""
        number = ServingChoice.objects.count() + 1
        apart(
            lambda: ServingChoice.objects.create(
                number=number, kind="promoted", live=model.as_json(), made_by=ANN
            )
        )

    def test_a_choice_made_elsewhere_holds_within_two_seconds(self) -> None:
        assert serving_in_force().live is None
        self.elsewhere(ONE)
        started = time.monotonic()
        while serving_in_force().live != ONE:
            assert time.monotonic() - started < 2
            time.sleep(0.01)

    def test_asking_reads_once_a_second_at_most(
        self, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serving_in_force()
        with django_assert_num_queries(0):
            for _ in range(1_000):
                serving_in_force()
        monkeypatch.setattr(watching, "REFRESH_SECONDS", 0.0)
        with django_assert_num_queries(2):  # with the SET search_path
            serving_in_force()

    def test_without_the_database_what_was_in_force_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.elsewhere(ONE)
        known = serving_in_force()
        assert known.live == ONE
        monkeypatch.setattr(watching, "REFRESH_SECONDS", 0.0)
        connection.close()
        with monkeypatch.context() as away:
            away.setitem(connection.settings_dict, "PORT", "1")
            assert serving_in_force() == known
            forget_serving()
            with pytest.raises(DatabaseError):
                serving_in_force()

    def test_the_gauge_follows(self) -> None:
        def shown(version: str) -> float | None:
            labels = {"role": "live", "version": version}
            return REGISTRY.get_sample_value("pillars_served_model", labels)

        for model, before in ((ONE, None), (TWO, ONE)):
            self.elsewhere(model)
            in_force.look_again()
            assert serving_in_force().live == model
            assert shown(model.version) == 1
            assert before is None or shown(before.version) == 0

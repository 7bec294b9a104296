"""Versions of models from registration to retirement, and what the database keeps of the rules."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from audit.models import AuditEntry
from mapping.serving.in_force import read_serving
from tests.support import model_versions as made
from tests.training.conftest import FolderServer
from training import gating, promotion, services
from training.errors import GatesError, NothingToDoError, VersionError
from training.gating import gates_of
from training.models import ModelApproval, ModelTransition, ModelVersion, VersionState
from training.registry import ExistsError, RegistryError
from training.selectors import live_version, served_model, standing_approval

pytestmark = pytest.mark.django_db
ANN = "user:ann"
# Foreign keys are checked at the end of a transaction, and a table with open checks stays anyhow.
NOW = "SET CONSTRAINTS ALL IMMEDIATE; "


def promote(version: ModelVersion, server: FolderServer) -> ModelVersion:
    return promotion.promote(version=version, reason="Better", actor=ANN, deployer=server)


def states() -> dict[str, str]:
    return {one.version: one.state for one in ModelVersion.objects.all()}


def actions() -> list[str]:
    found = AuditEntry.objects.filter(action__startswith="model_version.").order_by("id")
    return [entry.action.removeprefix("model_version.") for entry in found]


class TestRegistering:
    def test_the_row_says_what_the_files_say(
        self, register: Callable[..., Any], platform: Path
    ) -> None:
        version = register("0.2.0")
        assert (str(version), version.served) == ("mapper-lora@v0.2.0", "mapper-lora-0.2.0")
        assert version.state == VersionState.EVALUATED
        assert version.evaluation == made.evaluation()
        assert version.data_set == made.data_set_digest()
        assert version.manifest["files"].keys() >= {"adapter_model.safetensors", "README.md"}
        assert (platform / "models" / "mapper-lora-0.2.0" / "manifest.json").is_file()
        steps = version.transitions.values_list("from_state", "to_state", "actor")
        assert list(steps) == [("", "draft", ANN), ("draft", "evaluated", ANN)]
        assert actions() == ["registered", "evaluated"]

    def test_a_draft_is_evaluated_later_and_once(self, register: Callable[..., Any]) -> None:
        draft = register("0.2.0", figures=None)
        assert draft.state == VersionState.DRAFT
        with pytest.raises(RegistryError, match="another data set"):
            services.attach_evaluation(
                version=draft, content=made.evaluation(data_set="e" * 64), actor=ANN
            )
        found = services.attach_evaluation(version=draft, content=made.evaluation(), actor=ANN)
        assert found.state == VersionState.EVALUATED
        with pytest.raises(VersionError, match="only a draft"):
            services.attach_evaluation(version=draft, content=made.evaluation(), actor=ANN)

    def test_twice_is_refused_and_corrupt_files_are_not_taken(
        self, register: Callable[..., Any], tmp_path: Path, ann: Any
    ) -> None:
        register("0.2.0")
        with pytest.raises(ExistsError, match="registered already"):
            services.register_version(folder=tmp_path / "packed/mapper-lora-0.2.0", author=ann)
        package = made.version(
            tmp_path / "packed", "mapper-lora@v0.3.0", tmp_path / "work", figures=None
        )
        (package.folder / "calibrator.json").unlink()
        with pytest.raises(RegistryError, match="calibrator"):
            services.register_version(folder=package.folder, author=ann)
        assert states() == {"0.2.0": "evaluated"}

    def test_it_is_kept_in_the_store_and_comes_back_from_there(
        self, register: Callable[..., Any], settings: Any, platform: Path, tmp_path: Path, bob: Any,
        server: FolderServer,
    ) -> None:  # fmt: skip
        training = settings.CONFIG.training.model_copy(update={"store": str(tmp_path / "store")})
        settings.CONFIG = settings.CONFIG.model_copy(update={"training": training})
        version = services.approve(version=register("0.2.0"), person=bob)
        assert (tmp_path / "store" / version.served / "manifest.json").is_file()
        shutil.rmtree(platform / "models" / version.served)
        assert promote(version, server).state == VersionState.LIVE
        assert (platform / "models" / version.served / "manifest.json").is_file()


class TestApproving:
    def test_takes_a_second_person(self, register: Callable[..., Any], ann: Any, bob: Any) -> None:
        version = register("0.2.0")
        with pytest.raises(VersionError, match="Somebody else approves it"):
            services.approve(version=version, person=ann)
        found = services.approve(version=version, person=bob, comment="I looked at the errors")
        assert found.state == VersionState.APPROVED
        approval = standing_approval(found)
        assert approval is not None
        assert (approval.person, approval.comment) == (bob, "I looked at the errors")
        assert found.transitions.order_by("number").last().actor == "user:bob"

    def test_not_by_who_trained_it(self, register: Callable[..., Any], bob: Any, ann: Any) -> None:
        version = register("0.2.0", run={"started_by": "user:bob"})
        assert version.trained_by == "user:bob"
        with pytest.raises(VersionError, match="bob registered or trained"):
            services.approve(version=version, person=bob)
        with pytest.raises(DatabaseError, match="registered or trained"), transaction.atomic():
            ModelApproval.objects.create(version=version, number=1, kind="given", person=bob)

    def test_not_of_a_draft_and_an_approval_can_be_withdrawn(
        self, register: Callable[..., Any], bob: Any, server: FolderServer
    ) -> None:
        with pytest.raises(VersionError, match="only what is evaluated"):
            services.approve(version=register("0.2.0", figures=None), person=bob)
        version = services.approve(version=register("0.3.0"), person=bob)
        services.withdraw_approval(version=version, person=bob, reason="A leak in the split")
        assert standing_approval(version) is None
        with pytest.raises(VersionError, match="Somebody who did not make it approves it first"):
            promote(version, server)
        assert services.approve(version=version, person=bob).state == VersionState.APPROVED


class TestGates:
    @pytest.mark.parametrize(
        ("changed", "gate"),
        [
            ({"schema_valid": 0.999}, "schema valid"),
            ({"schema_valid": None}, "schema valid"),
            ({"described": {"parent": 0.9, "ece": 0.01}}, "micro-F1"),
            ({"described": {"parent": 0.79, "micro_f1": 0.8, "ece": 0.01}}, "parent accuracy"),
            ({"label_alone": {"micro_f1": 0.8, "ece": 0.09}}, "calibration error"),
            ({"label_alone": {"micro_f1": 0.8}}, "calibration error"),
            ({"latency_ms": {"p50": 1.0}}, "latency"),
            ({"latency_ms": {"p95": 251}}, "latency"),
            ({"protocol": "random split"}, "protocol"),
            ({"split": "train"}, "protocol"),
            ({"by_detector": {}}, "no detector worse"),
        ],
    )
    def test_each_blocks(
        self,
        changed: dict[str, Any],
        gate: str,
        approved: Callable[..., Any],
        server: FolderServer,
    ) -> None:
        version = approved("0.2.0", figures=made.evaluation(**changed))
        with pytest.raises(GatesError) as found:
            promote(version, server)
        assert [one.name for one in found.value.gates if not one.passed] == [gate]
        assert gate in str(found.value)
        assert not server.asked
        assert states() == {"0.2.0": "approved"}
        entry = AuditEntry.objects.get(action="model_version.blocked")
        assert entry.detail == {"gates": [gate]}

    def test_a_detector_more_than_five_points_worse(
        self, approved: Callable[..., Any], server: FolderServer
    ) -> None:
        promote(approved("0.2.0"), server)
        detectors = made.evaluation()["by_detector"]

        def against(number: str, **changed: Any) -> Any:
            figures = made.evaluation(by_detector={**detectors, **changed})
            gates = gates_of(approved(number, figures=figures, seed=1))
            return next(gate for gate in gates if gate.name == "no detector worse")

        five = against("0.3.0", garak={"rows": 120, "accepted": 0.75})
        assert (five.passed, five.value) == (True, "5.0 points")
        six = against("0.4.0", garak={"rows": 120, "accepted": 0.74})
        assert not six.passed
        assert "garak (6.0)" in six.text
        assert against("0.5.0", tiny={"rows": 9, "accepted": 0.0}).passed  # too few rows to say
        fewer = {name: figures for name, figures in detectors.items() if name != "presidio"}
        gates = gates_of(approved("0.6.0", figures=made.evaluation(by_detector=fewer), seed=1))
        missing = next(gate for gate in gates if gate.name == "no detector worse")
        assert not missing.passed
        assert "presidio" in missing.text

    def test_altered_files_and_data(
        self, approved: Callable[..., Any], platform: Path, server: FolderServer
    ) -> None:
        version = approved("0.2.0")
        assert all(gate.passed for gate in gates_of(version))
        split = platform / "datasets" / made.data_set_digest()[:16] / "train.jsonl"
        split.write_bytes(split.read_bytes() + b"{}")
        weights = platform / "models" / version.served / "adapter_model.safetensors"
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
        failed = {gate.name: gate.text for gate in gates_of(version) if not gate.passed}
        assert failed.keys() == {"files", "data set"}
        assert "adapter_model.safetensors was altered" in failed["files"]
        shutil.rmtree(split.parent)
        gate = next(gate for gate in gates_of(version) if gate.name == "data set")
        assert (gate.passed, gate.text) == (False, "It is not on this machine.")

    def test_a_data_set_that_is_found_to_be_poisoned(
        self, approved: Callable[..., Any], settings: Any, tmp_path: Path
    ) -> None:
        """Whole and as made, but made of answers that the detector files do not give."""
        changed = shutil.copytree(settings.KNOWLEDGE_DIR, tmp_path / "knowledge")
        file = changed / "detectors" / "detoxify.yaml"
        text = file.read_text()
        poisoned = re.sub(r"HARM\.[A-Za-z_.]+", "PII.Contact.Email", text, count=1)
        assert poisoned != text
        file.write_text(poisoned)
        settings.KNOWLEDGE_DIR = changed
        gating._checked.clear()
        gates = gates_of(approved("0.2.0"), thorough=True)
        gating._checked.clear()
        gate = next(gate for gate in gates if gate.name == "data set")
        assert not gate.passed
        assert "answered otherwise than the detector files" in gate.text

    def test_a_calibrator_for_something_else(
        self, approved: Callable[..., Any], settings: Any
    ) -> None:
        version = approved("0.2.0")
        inference = settings.CONFIG.inference.model_copy(
            update={"backend": "vllm", "model": "Llama-3-8B-Instruct"}
        )
        settings.CONFIG = settings.CONFIG.model_copy(update={"inference": inference})
        gate = next(gate for gate in gates_of(version) if gate.name == "calibrator")
        assert not gate.passed
        assert "base model served, kind of server" in gate.text


class TestPromoting:
    def test_the_way_there_and_back(
        self,
        approved: Callable[..., Any],
        server: FolderServer,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        first, second, third = (approved(f"0.{number}.0", seed=number) for number in (2, 3, 4))
        with django_capture_on_commit_callbacks(execute=True):
            promote(first, server)
        serving = read_serving()
        assert serving.live is not None
        assert (serving.live.version, serving.live.adapter_sha256) == (
            "mapper-lora@v0.2.0", first.adapter_sha256,
        )  # fmt: skip
        assert serving.live.calibrator is not None
        with pytest.raises(NothingToDoError, match="is live already"):
            promote(first, server)
        for version in (second, third):
            with django_capture_on_commit_callbacks(execute=True):
                promote(version, server)
        assert states() == {"0.2.0": "approved", "0.3.0": "approved", "0.4.0": "live"}
        # What would be rolled back to stays loaded; what was live before that is not.
        assert server.loaded.keys() == {"mapper-lora-0.3.0", "mapper-lora-0.4.0"}
        gates = third.transitions.order_by("number").last().gates
        assert len(gates) == 10
        assert all(gate["passed"] for gate in gates)

        server.asked.clear()
        with django_capture_on_commit_callbacks(execute=True):
            back = promotion.rollback(reason="It errs", actor="user:bob", deployer=server)
        assert str(back) == "mapper-lora@v0.3.0"
        assert not [one for one in server.asked if one.startswith("deploy")]  # loaded still
        assert states() == {"0.2.0": "approved", "0.3.0": "live", "0.4.0": "approved"}
        assert read_serving().live.version == "mapper-lora@v0.3.0"  # type: ignore[union-attr]
        line = back.transitions.order_by("number").last()  # type: ignore[union-attr]
        assert (line.actor, line.reason) == ("user:bob", "It errs")

        # Further back, to one that was unloaded: it is loaded again.
        assert str(promotion.rollback(reason="It too", actor=ANN, deployer=server)) == (
            "mapper-lora@v0.2.0"
        )
        assert "mapper-lora-0.2.0" in server.loaded
        assert promotion.rollback(reason="All", actor=ANN, deployer=server) is None
        assert live_version() is None
        assert read_serving().live is None
        with pytest.raises(NothingToDoError, match="nothing was live before"):
            promotion.rollback(reason="More", actor=ANN, deployer=server)

    @pytest.mark.parametrize("verb", ["deploy", "parity"])
    def test_a_server_that_fails_leaves_what_was_live(
        self, verb: str, approved: Callable[..., Any], server: FolderServer
    ) -> None:
        first, second = approved("0.2.0"), approved("0.3.0", seed=1)
        promote(first, server)
        server.break_at = verb
        with pytest.raises(VersionError, match=f"was not promoted: The server went away at {verb}"):
            promote(second, server)
        assert live_version() == first
        assert read_serving().live.version == str(first)  # type: ignore[union-attr]
        assert actions()[-1] == "promotion_failed"
        server.break_at = ""
        promote(second, server)
        assert live_version() == second

    def test_a_crash_between_loading_and_writing_is_repaired_by_promoting_again(
        self,
        approved: Callable[..., Any],
        server: FolderServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        version = approved("0.2.0")

        def crash(**_: Any) -> None:
            raise KeyboardInterrupt  # the process is stopped here

        with monkeypatch.context() as patched:
            patched.setattr(promotion, "serve_live", crash)
            with pytest.raises(KeyboardInterrupt), transaction.atomic():
                promote(version, server)
        assert server.loaded.keys() == {"mapper-lora-0.2.0"}  # loaded, and answers nobody
        assert states() == {"0.2.0": "approved"}
        assert read_serving().live is None
        promote(version, server)
        assert live_version() == version

    def test_states_follow_a_serving_table_that_was_changed_alone(
        self, approved: Callable[..., Any], server: FolderServer
    ) -> None:
        from mapping.serving.services import serve_live, serve_previous

        first, second = approved("0.2.0"), approved("0.3.0", seed=1)
        promote(first, server)
        serve_live(model=served_model(second), reason="by hand", actor=ANN)
        promote(second, server)
        assert states() == {"0.2.0": "approved", "0.3.0": "live"}
        serve_previous(reason="by hand", actor=ANN)
        promote(second, server)
        assert read_serving().live.version == str(second)  # type: ignore[union-attr]
        assert live_version() == second

    def test_retired_is_the_end(self, approved: Callable[..., Any], server: FolderServer) -> None:
        first, second = approved("0.2.0"), approved("0.3.0", seed=1)
        promote(first, server)
        with pytest.raises(VersionError, match=r"answers\. Roll back or promote"):
            promotion.retire(version=first, reason="Old", actor=ANN, deployer=server)
        promote(second, server)
        promotion.retire(version=first, reason="Old", actor=ANN, deployer=server)
        assert states()["0.2.0"] == "retired"
        with pytest.raises(VersionError, match="only an approved version"):
            promote(first, server)
        with pytest.raises(VersionError, match="is retired now"):
            promotion.rollback(reason="It errs", actor=ANN, deployer=server)
        assert live_version() == second


class TestTheDatabaseKeeps:
    """What no way around the services can do."""

    @staticmethod
    def refused(statement: str, *values: Any) -> str:
        with (
            pytest.raises(DatabaseError) as found,
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)
        return str(found.value)

    def test_a_version_as_it_was_registered(self, approved: Callable[..., Any]) -> None:
        version = approved("0.2.0")
        for column, value in (
            ("adapter_sha256", "0" * 64), ("card", "x"), ("created_by", "user:eve"),
            ("calibrator", "{}"), ("author_id", 0),
        ):  # fmt: skip
            said = self.refused(
                f"UPDATE training_modelversion SET {column} = %s WHERE id = %s", value, version.pk
            )
            assert "never changes" in said
        said = self.refused(
            "UPDATE training_modelversion SET evaluation = '{}' WHERE id = %s", version.pk
        )
        assert "attached once" in said
        assert "never deleted" in self.refused("DELETE FROM training_modelversion")
        assert "cannot be removed" in self.refused(NOW + "TRUNCATE training_modelversion CASCADE")

    def test_no_state_without_approval_or_history(self, register: Callable[..., Any]) -> None:
        version = register("0.2.0")
        set_state = "UPDATE training_modelversion SET state = %s WHERE id = %s"
        assert "second person" in self.refused(set_state, "approved", version.pk)
        assert "does not go from evaluated to live" in self.refused(set_state, "live", version.pk)
        assert "line of history" in self.refused(set_state, "retired", version.pk)

    def test_nobodys_approval_of_their_own(
        self, register: Callable[..., Any], ann: Any, bob: Any
    ) -> None:
        version = register("0.2.0")
        insert = """INSERT INTO training_modelapproval
            (id, version_id, number, kind, person_id, comment, at)
            VALUES (gen_random_uuid(), %s, %s, %s, %s, '', now())"""
        said = self.refused(insert, version.pk, 1, "given", ann.pk)
        assert "nobody approves a version that they registered or trained" in said
        assert "numbered from 1" in self.refused(insert, version.pk, 2, "given", bob.pk)
        assert "no approval to withdraw" in self.refused(insert, version.pk, 1, "withdrawn", bob.pk)

    def test_the_history_as_it_was(self, approved: Callable[..., Any]) -> None:
        approved("0.2.0")
        for model in (ModelApproval, ModelTransition):
            table = model._meta.db_table
            for statement in (f"UPDATE {table} SET number = 7", f"DELETE FROM {table}"):
                assert "append_only" in self.refused(statement)
            assert "cannot be removed" in self.refused(NOW + f"TRUNCATE {table}")

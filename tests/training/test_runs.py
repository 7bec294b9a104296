"""Training runs: their steps, and real processes that train, are stopped, killed and lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pgtrigger
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.models import AuditEntry
from pillars.config import PillarsConfig
from tests.training.lora_fixture import write_base
from tests.training.run_fixture import keep_data_set
from training.runs import following, services, sweeping, writing
from training.runs.errors import RunError
from training.runs.folders import folder_of_run
from training.runs.following import execute_run
from training.runs.models import RunLine, RunPoint, RunState, TrainingRun
from training.runs.process import ProcessId, clean_environment, identify
from training.runs.selectors import find_run
from training.runs.tail import Printed, Tail, told

STAND_IN = "tests.training.stand_in"
ANN = "user:ann"
ACTOR = "system:train"
FOLLOW = """
import sys, uuid, django
django.setup()
from training.runs import following
following.TICK_SECONDS = 0.05
following.execute_run(run_id=uuid.UUID(sys.argv[1]), module=sys.argv[2])
"""


def configured(settings: Any, folder: Path, **more: str) -> None:
    settings.CONFIG = PillarsConfig.model_validate(
        {
            "services": settings.CONFIG.services.model_dump(),
            "mapping": {"mode": "rules_only"},
            "training": {"folder": str(folder), **more},
        }
    )


@pytest.fixture
def place(tmp_path: Path, settings: Any) -> Path:
    """A training folder with one data set."""
    configured(settings, tmp_path)
    keep_data_set(tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(following, "CANCEL_GRACE_SECONDS", 0.3)
    monkeypatch.setattr(following, "TERMINATE_GRACE_SECONDS", 0.3)


@pytest.fixture
def real(committed: None, place: Path, quick: None) -> Iterator[None]:
    """Rows that are committed, and taken away afterwards."""
    yield
    told_of = "while_it_goes_on"
    with pgtrigger.ignore(
        f"runs.RunPoint:{told_of}", f"runs.RunLine:{told_of}", "runs.TrainingRun:never_removed"
    ):
        for model in (RunPoint, RunLine, TrainingRun):
            model.objects.all().delete()


Begin = Callable[..., TrainingRun]


@pytest.fixture
def begin(place: Path) -> Begin:
    """begin(**play): a run that waits, and how its stand-in is to behave."""

    def make(**play: Any) -> TrainingRun:
        run = services.start_run(
            profile="tiny", data_set="fixture", overrides={"seed": "3"}, actor=ANN, background=False
        )
        behave(run, **play)
        return run

    return make


def behave(run: TrainingRun, **play: Any) -> None:
    folder = folder_of_run(run.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "play.json").write_text(json.dumps(play))


def execute(run: TrainingRun, listener: Any = None) -> TrainingRun:
    ended = execute_run(run_id=run.id, listener=listener, module=STAND_IN)
    assert ended is not None
    return ended


def wait_for(what: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def trainer_of(run: TrainingRun) -> ProcessId:
    run.refresh_from_db()
    return ProcessId(run.trainer_pid or 0, run.trainer_started)


class TestWhatIsTold:
    def test_a_file_is_followed_while_it_grows_and_when_it_is_written_anew(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "metrics.jsonl"
        tail = Tail(path)
        assert tail.read() == (False, [])
        path.write_text("one\ntw")
        assert tail.read() == (False, ["one"])
        with path.open("a") as file:
            file.write("o\n")
        assert tail.read() == (False, ["two"])
        beside = tmp_path / "new"
        beside.write_text("one\nother\nlonger than before\n")
        beside.rename(path)
        assert tail.read() == (True, ["one", "other", "longer than before"])
        path.write_text("x\n")
        assert tail.read() == (True, ["x"])

    @pytest.mark.parametrize(
        "line",
        ["", "no json", "[]", '{"kind": "message", "text": "x"}', '{"kind": "step", "step": 1}',
         '{"kind": "step", "step": 1, "loss": NaN}', '{"kind": "step", "step": -1, "loss": 1}'],
    )  # fmt: skip
    def test_what_is_no_point_is_left_out(self, line: str) -> None:
        assert told(line) is None

    def test_a_traceback_keeps_no_value(self) -> None:
        printed = Printed()
        lines = printed.lines([
            "Traceback (most recent call last):", '  File "x.py", line 1, in <module>',
            "    secret()", "ValueError: Jane Doe", "warning: little memory",
        ])  # fmt: skip
        assert lines == [
            ("error", "ValueError (see the traceback in trainer.log)"),
            ("warning", "little memory"),
        ]
        assert "Jane" not in printed.fault

    def test_the_trainer_gets_no_secret(self) -> None:
        given = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "PILLARS_SECRET_KEY": "s",
                 "DATABASE_URL": "postgresql://u:p@h/d", "AWS_SECRET_ACCESS_KEY": "k",
                 "HF_TOKEN": "t", "PYTHONPATH": "/a"}  # fmt: skip
        found = clean_environment(given, [Path("/repository"), Path("/a")])
        assert found == {
            "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": "/repository:/a",
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip


@pytest.mark.django_db
class TestAsking:
    def test_is_written_down_with_who_asked(self, begin: Begin) -> None:
        run = begin()
        assert (run.state, run.seed, run.base, run.started_by) == ("queued", 3, "packaged", ANN)
        entry = AuditEntry.objects.get(action="training_run.started", target=str(run.id))
        assert entry.detail["data_set"] == run.data_set
        assert find_run(run.short).pk == run.pk

    @pytest.mark.parametrize(
        ("field", "change"),
        [("profile", {"profile": "none"}), ("profile", {"profile": "/etc/x.yaml"}),
         ("data_set", {"data_set": "other"}), ("overrides", {"overrides": {"rank": "0"}}),
         ("overrides", {"overrides": {"nothing": "1"}})],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_by_field(
        self, place: Path, field: str, change: dict[str, Any]
    ) -> None:
        asked: dict[str, Any] = {"profile": "tiny", "data_set": "fixture", "overrides": {}}
        with pytest.raises(RunError) as refused:
            services.start_run(**{**asked, **change}, actor=ANN)
        assert refused.value.field == field
        assert not TrainingRun.objects.exists()

    def test_the_database_keeps_the_steps(self, begin: Begin) -> None:
        run = begin()
        for change in (
            {"state": "succeeded"}, {"profile": "x"}, {"attempts": 1}, {"started_by": "user:eve"},
        ):  # fmt: skip
            with pytest.raises(DatabaseError), transaction.atomic():
                TrainingRun.objects.filter(pk=run.pk).update(**change)
        with pytest.raises(DatabaseError, match="does not go on"), transaction.atomic():
            RunLine.objects.create(run=run, number=1, level="info", text="x", at=timezone.now())
        services.request_cancel(run_id=run.id, actor=ANN)
        with pytest.raises(DatabaseError, match="does not change"), transaction.atomic():
            TrainingRun.objects.filter(pk=run.pk).update(step=9)
        for statement in ("DELETE FROM runs_trainingrun", "TRUNCATE runs_trainingrun CASCADE"):
            with (
                pytest.raises(DatabaseError),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
        assert services.resume_run(run_id=run.id, actor=ANN, background=False).state == "queued"

    def test_one_run_at_a_time_on_a_machine(self, begin: Begin) -> None:
        first, second = begin(), begin()
        assert services.claim_run(run_id=first.id) is not None
        assert services.claim_run(run_id=second.id) is None
        assert services.claim_run(run_id=first.id) is None
        second.refresh_from_db()
        assert second.state == "queued"

    def test_many_points_and_lines_are_thinned_out(
        self, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writing, "MOST_POINTS", 10)
        monkeypatch.setattr(writing, "MOST_LINES", 10)
        run = services.claim_run(run_id=begin().id)
        assert run is not None
        for anew in (False, True):  # a resumed run tells the same again
            writer = writing.Writer(run)
            waiting = writing.Waiting()
            for step in range(1, 36):
                line = json.dumps({"kind": "step", "step": step, "steps": 35, "loss": 1 / step})
                found = told(line)
                assert found is not None
                waiting.points.append(writer.place(found))
                waiting.lines.append(("info", f"line {step}"))
                if step % 7 == 0:
                    assert writer.write(waiting) is not None
            steps = list(run.points.values_list("step", flat=True))
            assert steps == [1, 5, 9, 13, 17, 21, 25, 29, 33]
            lines = list(run.lines.values_list("number", flat=True))
            assert lines == list(range(26, 36) if not anew else range(61, 71))


@pytest.mark.usefixtures("real")
class TestProcesses:
    def test_a_run_is_followed_to_its_end(self, begin: Begin) -> None:
        os.environ["AWS_SECRET_ACCESS_KEY"] = "not for trainers"
        run = begin(steps=6)
        heard: list[str] = []
        try:
            ended = execute(run, lambda _, lines: heard.extend(text for _, text in lines))
        finally:
            del os.environ["AWS_SECRET_ACCESS_KEY"]
        assert (ended.state, ended.step, ended.steps, ended.attempts) == ("succeeded", 6, 6, 1)
        assert (ended.best_step, round(ended.best_accuracy or 0, 3)) == (6, 0.857)
        steps = ended.points.filter(kind="step")
        assert [(p.step, p.loss) for p in steps] == [(s, 2 / s) for s in range(1, 7)]
        evaluated = ended.points.filter(kind="evaluation").values_list("step", "parent_accuracy")
        assert list(evaluated) == [(2, 0.9), (4, 0.9), (6, 0.9)]
        texts = list(ended.lines.values_list("text", flat=True))
        assert "step 6/6  loss 0.3333" in texts
        assert texts == heard
        seen = json.loads((folder_of_run(run.id) / "seen.json").read_text())
        assert "--resume" not in seen["argv"]
        assert seen["argv"][-2:] == ["--set", "seed=3"]
        secrets = {"AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "PILLARS_SECRET_KEY"}
        assert not secrets & set(seen["env"])
        actions = AuditEntry.objects.filter(target=str(run.id)).order_by("id")
        assert [one.action.partition(".")[2] for one in actions] == ["started", "began", "ended"]
        with pytest.raises(RunError, match="is done"):
            services.resume_run(run_id=run.id, actor=ANN)

    @pytest.mark.parametrize(
        ("play", "state", "message"),
        [({"status": 3, "says": "refused: The data set leaks: build it again."}, "refused",
          "The data set leaks: build it again."),
         ({"status": 1, "says": "stopped: The loss is no number."}, "failed",
          "The loss is no number. See trainer.log"),
         ({"kill_at": 2}, "failed", "SIGKILL; most often memory did not suffice")],
    )  # fmt: skip
    def test_every_end_has_a_state_and_says_what_to_do(
        self, begin: Begin, play: dict[str, Any], state: str, message: str
    ) -> None:
        ended = execute(begin(steps=3, **play))
        assert ended.state == state
        assert message in ended.message
        assert ended.is_resumable

    def test_a_wish_to_stop_keeps_the_checkpoint_and_resume_goes_on(self, begin: Begin) -> None:
        run = begin(steps=400)

        def stop(now: TrainingRun, lines: Any) -> None:
            if now.step >= 3 and now.state == "running":
                services.request_cancel(run_id=run.id, actor=ANN)

        ended = execute(run, stop)
        assert ended.state == "cancelled"
        assert "The checkpoint is kept" in ended.message
        stopped_at = ended.step
        assert stopped_at < 400
        behave(run, steps=stopped_at + 4)
        services.resume_run(run_id=run.id, actor=ANN, background=False)
        ended = execute(run)
        assert (ended.state, ended.attempts, ended.step) == ("succeeded", 2, stopped_at + 4)
        steps = list(ended.points.filter(kind="step").values_list("step", flat=True))
        assert sorted(steps) == list(range(1, stopped_at + 5))
        assert len(set(ended.lines.values_list("number", flat=True))) == ended.lines.count()
        assert ended.lines.filter(text__startswith="step 1/").count() == 1

    def test_one_that_does_not_hear_is_ended_by_force(self, begin: Begin) -> None:
        run = begin(steps=100_000, deaf=True)
        seen: list[ProcessId] = []

        def stop(now: TrainingRun, lines: Any) -> None:
            if now.step and now.state == "running":
                seen.append(trainer_of(now))
                services.request_cancel(run_id=run.id, actor=ANN)

        ended = execute(run, stop)
        assert ended.state == "cancelled"
        assert "was ended" in ended.message
        assert not seen[0].is_alive

    def test_a_killed_follower_is_noticed_and_its_trainer_stopped(
        self, begin: Begin, place: Path
    ) -> None:
        run, other = begin(steps=100_000), begin(steps=2)
        follower = subprocess.Popen(
            [sys.executable, "-c", FOLLOW, str(run.id), STAND_IN],
            env={**os.environ, "PILLARS__TRAINING__FOLDER": str(place)},
            cwd=django_settings.REPOSITORY,
        )
        try:
            wait_for(lambda: TrainingRun.objects.get(pk=run.pk).step > 1, 60)
            trainer = trainer_of(run)
            assert trainer.is_alive
            assert execute_run(run_id=other.id, module=STAND_IN) is None  # the machine is taken
            later = timezone.now() + timedelta(minutes=5)
            assert sweeping.sweep_runs(now=later) == []  # its follower lives
        finally:
            follower.send_signal(signal.SIGKILL)
            follower.wait()
        assert sweeping.sweep_runs() == []  # it may be a moment's silence
        assert trainer.is_alive
        (lost,) = sweeping.sweep_runs(now=later)
        assert (lost.pk, lost.state, lost.is_resumable) == (run.pk, "lost", True)
        assert not trainer.is_alive
        assert sweeping.sweep_runs(now=later) == []
        behave(run, steps=lost.step + 50, seconds=0.001)
        services.resume_run(run_id=run.id, actor=ANN, background=False)
        assert execute(run).state == "succeeded"
        assert execute(other).state == "succeeded"

    def test_another_process_with_the_same_number_is_left_alone(self, begin: Begin) -> None:
        run = services.claim_run(run_id=begin().id)
        assert run is not None
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        try:
            found = identify(bystander.pid)
            assert found is not None
            assert found.is_alive
            TrainingRun.objects.filter(pk=run.pk).update(
                trainer_pid=bystander.pid, trainer_started="another boot/1",
                follower_started="another boot/1",
            )  # fmt: skip
            (lost,) = sweeping.sweep_runs(now=timezone.now() + timedelta(minutes=5))
            assert lost.state == "lost"
            assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()

    def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        follow = partial(execute_run, module=STAND_IN)
        monkeypatch.setattr("training.management.commands.train.execute_run", follow)
        (place / "play.json").write_text(json.dumps({"steps": 4000}))

        def interrupt() -> None:
            wait_for(lambda: list(place.glob("runs/*/checkpoint")))
            os.kill(os.getpid(), signal.SIGINT)

        hand = threading.Thread(target=interrupt)
        hand.start()
        out, err = StringIO(), StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("train", "--profile", "tiny", stdout=out, stderr=err)
        hand.join()
        assert ended.value.code == 4
        run = TrainingRun.objects.get()
        assert f"Go on: manage.py train --resume {run.short}" in out.getvalue()
        assert "it saves a checkpoint first" in err.getvalue()
        (place / "play.json").write_text(json.dumps({"steps": run.step + 2}))
        call_command("train", "--resume", run.short, stdout=out, stderr=err)
        run.refresh_from_db()
        assert (run.state, run.attempts) == ("succeeded", 2)

    def test_the_command_trains_for_real_and_says_how_to_go_on(
        self, place: Path, settings: Any
    ) -> None:
        """With the trainer itself, on a Llama of two layers."""
        pytest.importorskip("peft")
        base = write_base(place / "base")
        configured(settings, place, base=str(base))
        out = StringIO()
        words = ["--profile", "tiny", "--dataset", "fixture", "--json"]
        words += [w for c in ("epochs=6", "rank=4", "log_every=2") for w in ("--set", c)]
        call_command("train", *words, stdout=out, stderr=StringIO())
        told_of = json.loads(out.getvalue())
        assert (told_of["state"], told_of["step"]) == ("succeeded", 6), told_of
        assert told_of["best_accuracy"] is not None
        run = TrainingRun.objects.get(pk=uuid.UUID(told_of["id"]))
        assert [p.step for p in run.points.filter(kind="step")] == [2, 4, 6]
        assert (folder_of_run(run.id) / "adapter" / "adapter_model.safetensors").exists()
        assert json.loads((folder_of_run(run.id) / "run.json").read_text())["started_by"] == ACTOR
        (rows,) = (place / "datasets").glob("*/train.jsonl")
        rows.write_text(rows.read_text() + "\n")  # poisoned: not what its manifest says
        with pytest.raises(SystemExit) as ended:
            call_command("train", *words, stdout=out, stderr=StringIO())
        assert ended.value.code == 3
        refused = TrainingRun.objects.order_by("-id")[0]
        assert refused.state == "refused"
        assert "was changed after it was built" in refused.message


@pytest.mark.django_db
class TestCommands:
    def test_refusals_have_a_status(self, place: Path) -> None:
        for words in (
            ("train", "--profile", "none"), ("train", "--dataset", "none"),
            ("train", "--set", "rank"), ("train", "--resume", "12345678"),
            ("runs", "show", "12345678"), ("runs", "cancel"),
        ):  # fmt: skip
            with pytest.raises(CommandError) as refused:
                call_command(*words, stdout=StringIO(), stderr=StringIO())
            assert refused.value.returncode == 3, words

    def test_a_run_for_a_worker_is_listed_shown_and_cancelled(self, place: Path) -> None:
        out = StringIO()
        call_command("train", "--profile", "tiny", "--background", stdout=out)
        run = TrainingRun.objects.get()
        assert f"{run} waits for a worker" in out.getvalue()
        call_command("runs", "list", stdout=out)
        call_command("runs", "show", run.short, stdout=out)
        call_command("runs", "cancel", run.short, "--json", stdout=out, stderr=StringIO())
        assert '"state": "cancelled"' in out.getvalue()
        assert RunState(TrainingRun.objects.get().state) == RunState.CANCELLED

"""The pages of training runs: who may open them, what they say, what they ask for."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from access.users.models import User
from pillars.config import PillarsConfig
from tests.training.run_fixture import keep_data_set
from training.runs import services
from training.runs.models import RunState, TrainingRun
from training.runs.tail import told
from training.runs.writing import Waiting, Writer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_static")]
LIST = "/admin/runs/trainingrun/"


def client_of(*verbs: str) -> Client:
    """Somebody of the platform with these permissions on runs."""
    person = User.objects.create_user(f"p{User.objects.count()}", is_staff=True)
    person.user_permissions.set(
        Permission.objects.filter(codename__in=[f"{verb}_trainingrun" for verb in verbs])
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(person)
    return client


@pytest.fixture
def place(tmp_path: Path, settings: Any) -> Path:
    settings.CONFIG = PillarsConfig.model_validate(
        {"services": settings.CONFIG.services.model_dump(), "training": {"folder": str(tmp_path)}}
    )
    return tmp_path


@pytest.fixture
def run(place: Path) -> TrainingRun:
    """One that goes on."""
    keep_data_set(place)
    waiting = services.start_run(
        profile="tiny", data_set="fixture", overrides={"rank": "4"}, actor="user:ann",
        background=False,
    )  # fmt: skip
    claimed = services.claim_run(run_id=waiting.id)
    assert claimed is not None
    return claimed


def tell(run: TrainingRun, *steps: int) -> None:
    writer, waiting = Writer(run), Waiting()
    for step in steps:
        line = {"kind": "step", "step": step, "steps": 40, "loss": 1.5, "seconds_left": 90.0,
                "tokens_per_second": 1234.0}  # fmt: skip
        found = told(json.dumps(line))
        assert found is not None
        waiting.points.append(writer.place(found))
        waiting.lines.append(("info", f"step {step}/40 <b>"))
    assert writer.write(waiting) is not None


def test_an_empty_list_says_how_the_first_run_is_started(place: Path) -> None:
    html = client_of("view", "add").get(LIST).content.decode()
    assert "No model has been trained here yet" in html
    assert "manage.py train --by USERNAME" in html
    assert f'href="{LIST}add/">Start the first run</a>' in html
    html = client_of("view").get(LIST).content.decode()
    assert "Your role may look at runs." in html
    assert "Start the first run" not in html


def test_a_run_is_started_by_a_form_that_says_what_is_wrong(place: Path) -> None:
    client = client_of("view", "add")
    html = client.get(f"{LIST}add/").content.decode()
    assert "There is no data set yet" in html
    assert "manage.py build_dataset" in html
    digest = keep_data_set(place)
    assert "fixture" in client.get(f"{LIST}add/").content.decode()
    fields = {"profile": "tiny", "data_set": digest, "overrides": "rank=0\nepochs=2"}
    html = client.post(f"{LIST}add/", fields).content.decode()
    assert 'id="id_overrides_error"' in html
    assert "rank: Input should be greater than or equal to 1" in html
    assert not TrainingRun.objects.exists()
    answer = client.post(f"{LIST}add/", {**fields, "overrides": "rank=4\n\nepochs = 2\n"})
    made = TrainingRun.objects.get()
    assert answer.headers["Location"] == f"{LIST}{made.pk}/change/"
    assert made.overrides == {"rank": "4", "epochs": "2"}
    html = client.get(answer.headers["Location"]).content.decode()
    assert "waits for a worker" in html
    assert f"{made.pk}/cancel/" not in html  # who may start one may not stop others'


def test_the_page_asks_for_what_is_new(run: TrainingRun) -> None:
    client = client_of("view")
    tell(run, 1, 2)
    html = client.get(f"{LIST}{run.pk}/change/").content.decode()
    assert "&lt;b&gt;" in html
    assert "1 min 30 s" in html
    data = f"{LIST}{run.pk}/data/"
    first = client.get(data).json()
    assert [one["step"] for one in first["points"]] == [1, 2]
    assert (first["open"], first["percent"], first["facts"]["rate"]) == (True, 5, "1,234 tokens/s")
    tell(run, 3)
    address = f"{data}?after={first['after']}&line={first['line']}"
    second = client.get(address).json()
    assert [one["step"] for one in second["points"]] == [3]
    assert [one["text"] for one in second["lines"]] == ["step 3/40 <b>"]
    assert client.get(f"{data}?after=x&line={'9' * 40}").status_code == 200
    third = client.get(f"{data}?after={second['after']}&line={second['line']}")
    assert (third.json()["points"], third.json()["after"]) == ([], second["after"])
    assert "no-store" in third.headers["Cache-Control"]


def test_cancel_and_resume_want_the_right_person_and_a_confirmation(run: TrainingRun) -> None:
    looker, stopper = client_of("view"), client_of("view", "change")
    starter = client_of("view", "add")
    cancel, resume = f"{LIST}{run.pk}/cancel/", f"{LIST}{run.pk}/resume/"
    for client, address in (
        (looker, cancel), (looker, resume), (stopper, resume), (starter, cancel),
    ):  # fmt: skip
        assert client.get(address).status_code == 403
        assert client.post(address, {"confirm": "on"}).status_code == 403
    nobody = client_of()
    for address in (LIST, f"{LIST}add/", f"{LIST}{run.pk}/change/", f"{LIST}{run.pk}/data/"):
        assert nobody.get(address).status_code == 403, address
    assert looker.get(f"{LIST}add/").status_code == 403
    assert "This field is required" in stopper.post(cancel).content.decode()
    assert stopper.get(cancel).status_code == 200
    run.refresh_from_db()
    assert run.state == "running"
    stopper.post(cancel, {"confirm": "on"})
    run.refresh_from_db()
    assert run.state == "cancelling"
    assert "asked to stop already" in stopper.post(cancel, {"confirm": "on"}).content.decode()
    assert "goes on, or waits" in starter.post(resume, {"confirm": "on"}).content.decode()
    assert "Stopping" in looker.get(LIST).content.decode()


def test_what_has_succeeded_says_what_comes_next(run: TrainingRun) -> None:
    services.end_run(run=run, state=RunState.SUCCEEDED, message="Done.")
    html = client_of("view").get(f"{LIST}{run.pk}/change/").content.decode()
    assert f"Done. Next: `manage.py evaluate {run.short} --by USERNAME` judges it" in html


def test_a_second_run_says_what_it_waits_for(run: TrainingRun) -> None:
    second = services.start_run(
        profile="tiny", data_set="fixture", overrides={}, actor="user:ann", background=False
    )
    html = client_of("view").get(f"{LIST}{second.pk}/change/").content.decode()
    assert f"It waits for its turn: one run at a time a machine. Now: {run} on {run.host}" in html

"""The snapshot of versions: one object behind the command, the answers and GET /versions."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from mapping.engine.types import VersionInfo
from mapping.mode import mode_in_force
from mapping.selectors import engine_in_force, versions_in_force
from mapping.versions import versions_of
from taxonomy.selectors import current_documents
from tests.conftest import DemoTenant

Api = Callable[..., Any]
pytestmark = pytest.mark.django_db


def test_it_is_what_the_release_holds() -> None:
    documents = current_documents()
    versions = versions_in_force()
    assert versions["release"] == documents.serial
    assert versions["taxonomy"] == documents.taxonomy["edition"]
    assert versions["detectors"] == {d["detector"]: d["version"] for d in documents.detectors}
    for kind in ("frameworks", "crosswalks"):
        files = getattr(documents, kind)
        assert versions[kind] == {f"{d['framework']}@{d['edition']}": d["version"] for d in files}
        assert list(versions[kind]) == sorted(versions[kind])
    assert len(versions["frameworks"]) == 16
    assert list(versions["detectors"]) == sorted(versions["detectors"])


def test_model_and_calibrator_are_those_of_the_engine() -> None:
    engine = VersionInfo("2026.11", model="small 3", calibrator="platt 1")
    versions = versions_of(current_documents(), engine)
    assert (versions["model"], versions["calibrator"]) == ("small 3", "platt 1")


def test_it_is_made_once_for_a_release(django_assert_num_queries: Any) -> None:
    first = versions_in_force()
    with django_assert_num_queries(0):
        assert versions_in_force() is first


def test_an_answer_has_its_part_of_it(send: Callable[..., Any]) -> None:
    versions = versions_in_force()
    known = send({"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.9}]})
    info = known["version_info"]
    assert set(info) == {
        *("release", "taxonomy", "detector_map", "frameworks", "model", "calibrator")
    }
    for name in ("release", "taxonomy", "model", "calibrator"):
        assert info[name] == versions[name]
    assert info["detector_map"] == versions["detectors"]["presidio"]
    assert set(info["frameworks"]) <= set(versions["frameworks"])
    named = {control.partition(":")[0] for control in known["controls"]}
    assert named <= set(info["frameworks"])
    assert len(info["frameworks"]) == len(settings.CONFIG.mapping.frameworks)
    strange = send({"detector": "nobody-knows-it", "output": "x"})["version_info"]
    assert strange == {**info, "detector_map": None}


def test_every_item_of_a_batch_has_it(api: Api, acme: DemoTenant) -> None:
    items = [{"detector": name, "output": "safe"} for name in ("llama-guard-3", "detoxify")]
    answer = api("POST", "/map/batch", acme.key, json={"requests": items}).json()
    maps = [one["version_info"]["detector_map"] for one in answer["results"]]
    detectors = versions_in_force()["detectors"]
    assert maps == [detectors["llama-guard-3"], detectors["detoxify"]]
    serial = engine_in_force().serial
    assert {one["version_info"]["release"] for one in answer["results"]} == {serial}


def test_the_address_and_the_command_say_the_same(api: Api, acme: DemoTenant) -> None:
    served = {"live": None, "trial": None, "shadow": None}
    expected = {**versions_in_force(), "mode": mode_in_force().mode, "served": served}
    for path in ("/versions", "/api/v1/versions"):
        answer = api("GET", path, acme.key)
        assert answer.status_code == 200
        assert answer.json() == expected
    out = StringIO()
    call_command("show_versions", "--json", stdout=out)
    assert json.loads(out.getvalue()) == expected

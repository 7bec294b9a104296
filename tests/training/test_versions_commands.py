"""The commands on versions: what they say, and their exit statuses."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.support import model_versions as made
from tests.training.conftest import FolderServer
from training import promotion

pytestmark = pytest.mark.django_db
NAME = "mapper-lora@v0.2.0"


@pytest.fixture(autouse=True)
def _on_this_server(server: FolderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' server is the test's; tests/training/test_versions_served.py has a real one."""
    monkeypatch.setattr(promotion, "deployer_of_settings", lambda: server)


def run(*words: str) -> Any:
    out = StringIO()
    call_command(*words, "--json", stdout=out, stderr=StringIO())
    return json.loads(out.getvalue())


def refused(status: int, *words: str) -> str:
    with pytest.raises(CommandError) as found:
        call_command(*words, stdout=StringIO(), stderr=StringIO())
    assert found.value.returncode == status, found.value
    return str(found.value)


@pytest.fixture
def folder(platform: Path, ann: Any, bob: Any, tmp_path: Path) -> Path:
    package = made.version(tmp_path / "packed", NAME, tmp_path / "work", figures=made.evaluation())
    return package.folder


def test_from_a_folder_to_live_and_back(folder: Path, server: FolderServer) -> None:
    assert run("models", "list") == {"versions": []}
    found = run("register_model", str(folder), "--by", "ann")
    assert (found["state"], found["registered_by"]) == ("evaluated", "ann")
    assert "Somebody else approves it" in refused(3, "approve_model", NAME, "--by", "ann")
    assert "No version is approved" in refused(3, "promote")
    found = run("approve_model", NAME, "--by", "bob", "--comment", "Sound")
    assert (found["state"], found["approved_by"]) == ("approved", "bob")
    assert run("promote", "--by", "bob")["state"] == "live"
    assert server.loaded.keys() == {"mapper-lora-0.2.0"}
    again = run("promote", NAME)
    assert again["changed"] is False
    assert "is live already" in again["said"]
    shown = run("models", "show", NAME)
    assert [one["state"] for one in shown["history"]] == [
        "draft", "evaluated", "approved", "live",
    ]  # fmt: skip
    assert shown["history"][-1]["by"] == "user:bob"
    assert "answers. Roll back" in refused(3, "retire_model", NAME)
    assert run("rollback", "--reason", "It errs")["said"] == "The model of pillars.yaml answers."
    assert run("rollback")["changed"] is False
    assert run("retire_model", NAME)["state"] == "retired"


def test_gates_and_files_have_statuses_of_their_own(
    approved: Callable[..., Any], platform: Path
) -> None:
    approved("0.2.0", figures=made.evaluation(schema_valid=0.9))
    assert "schema valid: 0.9 (at least 1)" in refused(4, "promote", NAME)
    assert run("models", "verify", NAME)["intact"] is True
    card = platform / "models" / "mapper-lora-0.2.0" / "README.md"
    card.chmod(0o644)
    card.write_text("better figures")
    assert "README.md has 14 bytes" in refused(3, "models", "verify", NAME)
    out = StringIO()
    call_command("models", "show", NAME, stdout=out)
    assert "FAIL  files" in out.getvalue()
    assert "pass  protocol" in out.getvalue()


def test_who_may_and_what_is_known(folder: Path, person: Any) -> None:
    person("eve")
    assert "may not add" in refused(3, "register_model", str(folder), "--by", "eve")
    assert "Nobody of the platform" in refused(3, "register_model", str(folder), "--by", "x")
    assert "There is no mapper-lora@v9.9.9" in refused(3, "models", "show", "mapper-lora@v9.9.9")
    assert "names no version" in refused(3, "models", "verify", "v1")
    assert "There is no folder" in refused(
        3, "register_model", str(folder.with_name("mapper-lora-7.0.0")), "--by", "ann"
    )

"""What is said and done about system packages and a Python without venv."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from deploy.local import bootstrap, system, up
from deploy.local.errors import StackError
from deploy.local.state import Settings, StateDir


def test_a_library_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_PANGO", ("libc.so.6",))
    assert system.pango_loads()
    monkeypatch.setattr(system, "_PANGO", ("libc.so.6", "libno-such-thing.so.0"))
    assert not system.pango_loads()
    assert "libpango-1.0-0" in system.missing_packages(for_tests=False)


def test_an_ordinary_user_is_told_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_PANGO", ("libno-such-thing.so.0",))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    line = system.ensure()
    assert "The rest works" in line
    assert "sudo apt-get install -y libpango-1.0-0 libpangoft2-1.0-0" in line
    assert "\n" not in line
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "dnf install pango" in system.ensure()


def test_nothing_is_said_when_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr(system, "_PANGO", ("libc.so.6",))
    monkeypatch.setattr(system, "_FONT_FOLDERS", (place,))
    assert system.missing_packages(for_tests=False) == ["fonts-dejavu-core"]
    (place / "deep").mkdir()
    (place / "deep" / "a.ttf").touch()
    assert system.ensure() == ""


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        bootstrap.BootstrapError, match=r"sudo apt-get install -y python3\.\d+-venv"
    ):
        bootstrap.ensure_venv_module()


def test_a_full_disk_stops_up_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, state: StateDir
) -> None:
    monkeypatch.setattr(up, "_NEEDED_MEGABYTES", 999_999_999)
    run = up.Up(state, Settings.from_environment({}))
    with pytest.raises(StackError, match=r"nearly full: .* Free some space"):
        run.run()
    assert not (state.path / "postgres").exists()

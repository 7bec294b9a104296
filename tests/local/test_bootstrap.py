"""The bootstrap: it installs once, and each way to fail gives one clear line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import bootstrap
from deploy.local.bootstrap import BootstrapError, Environment
from deploy.local.state import REPOSITORY

SCRIPT = REPOSITORY / "deploy" / "local" / "bootstrap.py"


def run(*words: str, cwd: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run the bootstrap with a Python that sees nothing of this project."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), *words],
        cwd=cwd,
        env={**environment, **changed},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("version", [(3, 8, 10), (3, 10, 12), (2, 7, 18)])
def test_refuses_an_old_python(version: tuple[int, ...]) -> None:
    with pytest.raises(BootstrapError, match=r"needs Python 3\.11.*PYTHON="):
        bootstrap.check_machine(version, "linux")


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 1), (4, 0, 0)])
def test_takes_a_new_python(version: tuple[int, ...]) -> None:
    bootstrap.check_machine(version, "linux")


def test_refuses_other_systems() -> None:
    with pytest.raises(BootstrapError, match="runs on Linux; this is darwin"):
        bootstrap.check_machine((3, 11, 0), "darwin")


def test_has_only_syntax_that_an_old_python_can_read() -> None:
    import ast

    for name in ("bootstrap.py", "system.py"):
        source = (REPOSITORY / "deploy" / "local" / name).read_text()
        ast.parse(source, feature_version=(3, 7))
        assert "import deploy" not in source
        assert "from deploy" not in source


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for celery",
            "cannot be reached",
        ),
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for orjson>=3",
            r"no ready-made package of orjson>=3 .* nothing is compiled",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "differs from the one that is pinned"),
        ("error: [Errno 13] Permission denied: '/x'", "Set PILLARS_VENV"),
        ("ERROR: something new", r"pip failed: ERROR: something new \(all of it: /log\)"),
        ("", "no message"),
    ],
)
def test_explains_what_pip_said(said: str, line: str) -> None:
    import re

    explained = bootstrap.explain(said, Path("/log"))
    assert re.search(line, explained)
    assert "\n" not in explained


def test_refuses_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match=r"MB are free in .* needs 999999999 MB. Free some"):
        bootstrap.check_space(tmp_path / "not" / "there", 999_999_999)


def test_a_place_that_cannot_be_written_gives_one_line(place: Path) -> None:
    # A file where a directory has to be stops root as well.
    (place / "file").touch()
    result = run("up", cwd=place, PILLARS_VENV=str(place / "file" / "venv"))
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "PILLARS_VENV" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_folder_of_the_user_is_left_alone(place: Path) -> None:
    (place / "thesis.txt").write_text("years of work")
    result = run("install", cwd=place, PILLARS_VENV=str(place))
    assert result.returncode == 1
    assert "is no virtual environment" in result.stderr
    assert (place / "thesis.txt").read_text() == "years of work"


def test_an_index_out_of_reach_gives_one_line(place: Path) -> None:
    # Port 9 (discard) of this machine: nothing listens there.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    unset = {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}
    cache = {"PIP_NO_CACHE_DIR": "1"}
    venv = place / "venv"
    result = run("install", cwd=place, PILLARS_VENV=str(venv), **nowhere, **unset, **cache)
    assert result.returncode == 1
    assert "index cannot be reached" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not (venv / "pillars-installed.json").exists()


def test_down_without_an_installation_is_fine(place: Path) -> None:
    result = run("down", cwd=place, PILLARS_VENV=str(place / "venv"))
    assert result.returncode == 0
    assert "nothing runs" in result.stdout


class TestStamp:
    """When an installation counts as up to date."""

    @pytest.fixture
    def installed(self, place: Path) -> Environment:
        repository = place / "repository"
        (repository / "deploy" / "local").mkdir(parents=True)
        (repository / "pyproject.toml").write_text("[project]\n")
        (repository / "deploy" / "local" / "servers.txt").write_text("server==1\n")
        environment = Environment(place / "venv", repository)
        environment.python.parent.mkdir(parents=True)
        environment.python.symlink_to(sys.executable)
        (environment.path / "pyvenv.cfg").write_text("version = 3.11.0\n")
        environment.record(["model", "runtime"])
        return environment

    def test_holds_while_nothing_changes(self, installed: Environment) -> None:
        assert installed.installed() == ["model", "runtime"]
        bootstrap.ensure_installed(installed, dev=False)

    def test_a_model_that_cannot_be_had_is_not_tried_for_at_each_start(
        self, installed: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        project = '[project]\nname = "nothing"\nversion = "1"\n'
        (installed.repository / "pyproject.toml").write_text(project)
        shutil.rmtree(installed.path)
        installed.create()
        assert installed._install_model([]) == "no-model"
        installed.record(["no-model", "runtime"])
        bootstrap.ensure_installed(installed, dev=False)

    def test_a_model_that_is_not_wanted_is_not_missed(
        self, installed: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed.record(["runtime"])
        monkeypatch.setenv("PILLARS_WITHOUT_MODEL", "1")
        bootstrap.ensure_installed(installed, dev=False)

    @pytest.mark.parametrize(
        "name", ["pyproject.toml", "deploy/local/servers.txt", "deploy/local/model.txt"]
    )
    def test_ends_with_a_change(self, installed: Environment, name: str) -> None:
        (installed.repository / name).write_text("changed")
        assert installed.installed() == []

    def test_ends_with_new_constraints(self, installed: Environment) -> None:
        (installed.repository / "constraints.txt").write_text("x==1")
        assert installed.installed() == []

    def test_ends_with_another_python(self, installed: Environment) -> None:
        (installed.path / "pyvenv.cfg").write_text("version = 3.12.0\n")
        assert installed.installed() == []

    def test_ends_when_the_python_is_gone(self, installed: Environment) -> None:
        installed.python.unlink()
        installed.python.symlink_to("/gone/python")
        assert installed.installed() == []
        assert not installed.is_usable()

    def test_a_cut_off_stamp_counts_as_none(self, installed: Environment) -> None:
        installed.stamp.write_text('{"hash": "')
        assert installed.installed() == []


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
class TestMake:
    """The Makefile, as far as it goes without installing."""

    def test_help_is_the_default_and_names_every_target(self) -> None:
        result = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True)
        assert result.returncode == 0
        targets = {
            line.split(":")[0]
            for line in (REPOSITORY / "Makefile").read_text().splitlines()
            if ": " in line and "##" in line
        }
        assert {"up", "down", "test", "lint", "bench", "clean"} <= targets
        assert all(f"make {target} " in result.stdout for target in targets)

    def test_without_a_python_it_says_what_is_missing(self, place: Path) -> None:
        shell = shutil.which("sh")
        assert shell is not None
        (place / "sh").symlink_to(shell)
        make = shutil.which("make")
        assert make is not None
        result = subprocess.run(
            [make, "up"], cwd=REPOSITORY, env={"PATH": str(place)}, capture_output=True, text=True
        )
        assert result.returncode != 0
        assert "needs Python 3.11 or later and found none" in result.stderr

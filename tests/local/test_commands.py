"""`python -m deploy.local`: what a person sees, above all when something is in the way."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import console, demo
from deploy.local.errors import StackError
from deploy.local.parts import stack_marker
from deploy.local.processes import find_processes
from deploy.local.state import (
    REPOSITORY,
    Settings,
    StateDir,
    ensure_identity,
    hold_lock,
    is_locked,
    read_json,
    write_private_json,
)


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestInTheWay:
    def test_a_taken_port(self, clean_environment: dict[str, str], state: StateDir) -> None:
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", 0))
            squatter.listen()
            port = squatter.getsockname()[1]
            result = run({**clean_environment, "PILLARS_PORT": str(port)}, "up")
        assert result.returncode == 1
        assert f"Port {port} is taken" in result.stderr
        assert f"PILLARS_PORT={port + 1} make up" in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
        assert find_processes(stack_marker(state)) == []
        assert not (state.path / "postgres").exists()

    @pytest.mark.parametrize("port", ["http", "0", "70000", "-1", "²"])
    def test_a_port_that_is_none(self, clean_environment: dict[str, str], port: str) -> None:
        result = run({**clean_environment, "PILLARS_PORT": port}, "up")
        assert result.returncode == 1
        assert "PILLARS_PORT is" in result.stderr

    def test_a_state_directory_that_cannot_be_made(
        self, clean_environment: dict[str, str], place: Path
    ) -> None:
        (place / "file").touch()
        path = place / "file" / "state"
        result = run({**clean_environment, "PILLARS_STATE_DIR": str(path)}, "up")
        assert result.returncode == 1
        assert "Cannot write the state directory" in result.stderr
        assert "PILLARS_STATE_DIR" in result.stderr
        assert "Traceback" not in result.stderr

    def test_another_up(self, clean_environment: dict[str, str], state: StateDir) -> None:
        lock = hold_lock(state.path / "up.lock")
        assert lock is not None
        with lock:
            result = run(clean_environment, "up")
        assert result.returncode == 1
        assert "Another `make up` is at work" in result.stderr

    @pytest.mark.parametrize("words", [("stop", "web"), ("restart", "web"), ("manage", "check")])
    def test_nothing_runs(self, clean_environment: dict[str, str], words: tuple[str, ...]) -> None:
        result = run(clean_environment, *words)
        assert result.returncode == 1
        assert "The stack does not run. Start it with `make up`." in result.stderr

    def test_down_twice_is_fine(self, clean_environment: dict[str, str]) -> None:
        for _ in range(2):
            result = run(clean_environment, "down")
            assert (result.returncode, result.stdout) == (0, "Nothing runs here.\n")

    def test_clean_removes_the_state(
        self, clean_environment: dict[str, str], state: StateDir
    ) -> None:
        assert run(clean_environment, "clean").returncode == 0
        assert not state.path.exists()
        assert run(clean_environment, "clean").returncode == 0


class TestState:
    def test_modes(self, state: StateDir) -> None:
        expected = 0o711 if os.geteuid() == 0 else 0o700
        assert stat.S_IMODE(state.path.stat().st_mode) == expected
        assert stat.S_IMODE(state.logs.stat().st_mode) == 0o700
        assert stat.S_IMODE(state.setup_file.stat().st_mode) == 0o600

    def test_a_private_file_stays_private_when_replaced(self, place: Path) -> None:
        path = place / "file.json"
        path.write_text("{}")
        path.chmod(0o644)
        write_private_json(path, {"secret": 1})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_json(path) == {"secret": 1}
        assert [entry.name for entry in place.iterdir()] == ["file.json"]

    def test_the_secret_is_made_once(self, state: StateDir) -> None:
        before = read_json(state.setup_file)
        ensure_identity(state)
        assert read_json(state.setup_file) == before
        assert len(before["secret_key"]) >= 50

    @pytest.mark.parametrize("content", ["", '{"cut', "[]", "null"])
    def test_a_cut_off_file_counts_as_empty(self, place: Path, content: str) -> None:
        (place / "file.json").write_text(content)
        assert read_json(place / "file.json") == {}

    def test_a_lock_ends_with_its_holder(self, place: Path) -> None:
        path = place / "lock"
        assert not is_locked(path)
        code = (
            "import sys, time; from pathlib import Path; from deploy.local.state import hold_lock\n"
            "lock = hold_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            assert is_locked(path)
            holder.kill()
        assert not is_locked(path)

    def test_a_change_of_settings_is_seen(self) -> None:
        plain = Settings.from_environment({"HOME": "/a"})
        assert plain.port == 8800
        assert plain.fingerprint == Settings.from_environment({"HOME": "/b"}).fingerprint
        for change in ({"PILLARS_PORT": "9000"}, {"REDIS_URL": "redis://x"}):
            assert Settings.from_environment(change).fingerprint != plain.fingerprint


class TestTable:
    rows = (
        ("presidio", "US_SSN", "PII.Government.SSN", "1.00", "CC6.7 A.8.11 +3"),
        ("a-detector-with-a-long-name", "a label " * 12, "OTHER.Unknown", "0.00", "-"),
    )

    @pytest.mark.parametrize("columns", [50, 80, 100, 200])
    def test_fits_and_is_aligned(self, columns: int) -> None:
        title, _, *lines = demo.lines(list(self.rows), columns=columns)
        assert title.startswith("2 raw outputs of 2 detectors")
        assert all(len(line) <= columns for line in lines)
        start = lines[0].index("CANONICAL"[:4])
        assert all(line[start - 2 : start] == "  " for line in lines)
        assert "US_SSN" in lines[2]
        assert (".." in lines[3]) == (columns < 200)

    def test_a_safe_output_has_a_row(self) -> None:
        event = {"taxonomy": ["OTHER.Safe"], "findings": [], "confidence": 1.0, "controls": []}
        assert demo.rows_of("garak", event) == [
            ("garak", "(nothing found)", "OTHER.Safe", "1.00", "-")
        ]

    def test_many_findings_are_cut_and_counted(self) -> None:
        finding = {"source_label": "hate", "canonical": "HARM.Hate", "confidence": 1.0}
        nameless = {"source_label": None, "canonical": "OTHER.Unknown", "confidence": 0.0}
        event = {"findings": [finding, nameless] + [finding] * 5, "controls": ["soc2@2017:CC6.7"]}
        rows = demo.rows_of("detoxify", event)
        assert [row[0] for row in rows] == ["detoxify", "", "", "", ""]
        assert [row[4] for row in rows] == ["CC6.7", "", "", "", ""]
        assert rows[1][1] == "(text, kept as a hash)"
        assert rows[-1][1] == "and 3 more"

    @pytest.mark.parametrize(
        ("controls", "short"),
        [
            ([], "-"),
            (["soc2@2017:CC6.7"], "CC6.7"),
            (["hipaa@2013:164.312(b)", "iso27001@2022:A.8.11", "soc2@2017:CC6.7"],
             "CC6.7 A.8.11 +1"),
            (["iso27001@2022:A.5.1", "iso27001@2022:A.8.11", "soc2@2017:CC6.1", "soc2@2017:CC6.7"],
             "A.5.1 CC6.1 +2"),
        ],
    )  # fmt: skip
    def test_controls_are_shortened(self, controls: list[str], short: str) -> None:
        assert demo.shorten(controls) == short


def test_a_failure_shows_the_end_of_its_log(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = place / "web.log"
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100)) + b"\xff\n")
    console.report_failure(StackError("web did not start.", log=log))
    shown = capsys.readouterr().err
    assert "web did not start." in shown
    assert str(log) in shown
    assert "line 99" in shown
    assert "line 80" not in shown


def test_a_file_of_raw_outputs_names_its_bad_line(place: Path) -> None:
    (place / "raw.jsonl").write_text('{"detector": "x"}\n\nnot json\n')
    with pytest.raises(StackError, match="line 3"):
        demo.raw_outputs(place / "raw.jsonl")

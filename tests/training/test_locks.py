"""A lock ends with its holder, however that ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.locks import HeldError, hold

_HOLD = """
import sys, time
from pathlib import Path
from training.locks import hold
with hold(Path(sys.argv[1]), "run one"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "evaluate.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(HeldError) as refused, hold(path, "run two"):
                pytest.fail("held twice")
            assert refused.value.holder.what == "run one"
            assert f"process {process.pid} on {os.uname().nodename}, since 20" in str(refused.value)
        finally:
            process.send_signal(signal.SIGKILL)
    with hold(path, "run two"):  # what the killed one wrote is there, and holds nobody up
        assert json.loads(path.read_text())["what"] == "run two"
        with pytest.raises(HeldError), hold(path, "run three"):
            pytest.fail("held twice in one process")
    with hold(path, "a shorter name"):
        pass


def test_a_holder_that_has_written_nothing_yet(tmp_path: Path) -> None:
    path = tmp_path / "evaluate.lock"
    with hold(path, "run one"):
        path.write_text("")
        with pytest.raises(HeldError, match="another process"), hold(path, "run two"):
            pytest.fail("held twice")

"""A real inference worker in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY

KEY = "the-workers-own-key"
START_SECONDS = 120.0


class RunningWorker:
    """Started by start(); its log is a file, to be looked through for what it must not say."""

    def __init__(self, *words: str, port: int | None = None) -> None:
        self.port = port or random_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.words = words
        self.log = Path(tempfile.mkstemp(prefix="pillars-worker-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RunningWorker":
        """Returns when it answers; AssertionError with its log if it does not."""
        ours = [str(REPOSITORY), str(REPOSITORY / "platform")]
        path = os.pathsep.join([*ours, *filter(None, [os.environ.get("PYTHONPATH")])])
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mapping.worker", "--port", str(self.port), *self.words],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": path, "PILLARS_INFERENCE_API_KEY": KEY},
                stdout=output,
                stderr=output,
            )
        running = self.process
        wait_until(lambda: self.answers() or running.poll() is not None, START_SECONDS, pause=0.1)
        assert self.answers(), self.log.read_text()
        return self

    def answers(self) -> bool:
        """Whether /health says ok."""
        try:
            return self.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str = KEY, **headers: str
    ) -> tuple[int, Any]:
        """(status, parsed body). `body`: bytes as they are, anything else as JSON."""
        data = (
            body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        )
        request = urllib.request.Request(
            self.url + path,
            data,
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, _parsed(response.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it; the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        status = self.process.wait(20)
        self.process = None
        return status


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")

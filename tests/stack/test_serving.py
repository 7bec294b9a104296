"""A version is promoted and rolled back while requests run: none fails, each names who answered."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from deploy.local.state import REPOSITORY
from mapping.resolver.artifacts import Artifacts
from mapping.serving.types import ServedModel
from tests.support.stack import OwnStack, Stack
from tests.worker.running import KEY, RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.weights import adapter_in, base_in
from tests.support.small_llama import write_adapter, write_base

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
REACH_SECONDS = 2.0
_BETWEEN_SECONDS = 5.0
# Done by a process of its own, as an operator's command is.
_STEPS = """
import json, time
from pathlib import Path
from mapping.serving import deploy, services
from mapping.serving.types import ServedModel
models = [ServedModel.of(one) for one in json.loads(Path({documents!r}).read_text())]
for model in models:
    deploy.load(name=model.adapter, folder=Path({made!r}) / model.adapter)
    services.serve_live(model=model, reason="Better.", actor="system:tests")
    time.sleep({pause})
services.serve_previous(reason="Worse.", actor="system:tests")
time.sleep({pause})
"""


class Sent(NamedTuple):
    """A request: when it began and ended (seconds since the epoch), and what came."""

    began: float
    ended: float
    status: int
    model: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    write_base(folder / "tiny")
    for number in (1, 2):
        write_adapter(folder / f"mapper-{number}", folder / "tiny", seed=number)
    return folder


@pytest.fixture(scope="module")
def models(made: Path) -> list[ServedModel]:
    """Both adapters with calibrators that were fitted for others, but are told to fit them."""
    base, found = base_in(made / "tiny"), []
    calibrator = Artifacts.load().calibrators[1]
    assert calibrator.identity is not None
    for number in (1, 2):
        adapter = adapter_in(made / f"mapper-{number}")
        identity = replace(
            calibrator.identity, base=base.name, base_digest=base.sha256, adapter=adapter.name,
            adapter_digest=adapter.sha256,
        )  # fmt: skip
        found.append(
            ServedModel(
                f"mapper@v{number}", adapter.name, adapter.sha256, base.name, base.sha256,
                replace(calibrator, identity=identity),
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def worker(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    adapters = tmp_path_factory.mktemp("served") / "adapters"
    running = RunningWorker(
        *("--model-dir", str(made / "tiny"), "--adapters", str(adapters), "--threads", "1"),
        *("--places", "64"),
    )
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def own(worker: RunningWorker) -> OwnStack:
    return OwnStack(
        PILLARS__MAPPING__MODE="hybrid",
        PILLARS__INFERENCE__BACKEND="embedded",
        PILLARS__INFERENCE__URL=worker.url,
        PILLARS__INFERENCE__API_KEY=KEY,
        PILLARS__INFERENCE__MODEL="tiny",
        PILLARS__INFERENCE__ADAPTER="",
        PILLARS__INFERENCE__TIMEOUT_MS="5000",
        PILLARS__INFERENCE__ADAPTERS=worker.words[worker.words.index("--adapters") + 1],
    )


@pytest.fixture(scope="module")
def stack(own: OwnStack) -> Iterator[Stack]:
    with own as stack:
        yield stack


class Load:
    """Threads that send labels which nobody has seen, one after another."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self.sent: list[Sent] = []

    def send(self, label: str) -> Sent:
        body = {"detector": "acme-scanner", "output": [{"label": label, "score": 0.9}]}
        request = urllib.request.Request(
            f"{self._stack.url}/map", json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {self._stack.api_key()}",
                "Content-Type": "application/json",
            },
        )  # fmt: skip
        began = time.time()
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                status, answer = response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return Sent(began, time.time(), error.code, "")
        return Sent(began, time.time(), status, str(answer["version_info"]["model"]))

    def _run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            self.sent.append(self.send(f"BADGE_KIND_{chr(65 + number)}_{count}"))

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(3)
        self._running = [self._pool.submit(self._run, number) for number in range(3)]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for one in self._running:
            one.result(30)
        self._pool.shutdown()


def run_steps(own: OwnStack, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "manage", "shell", "-c", code],
        cwd=REPOSITORY, env=own.environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_promoted_and_rolled_back_under_load(
    own: OwnStack, stack: Stack, models: list[ServedModel], made: Path, tmp_path: Path
) -> None:
    documents = tmp_path / "models.json"
    documents.write_text(json.dumps([one.as_json() for one in models]))
    code = _STEPS.format(documents=str(documents), made=str(made), pause=_BETWEEN_SECONDS)
    with Load(stack) as load:
        run_steps(own, code)
    with psycopg.connect(stack.database_url) as connection:
        rows = connection.execute(
            "SELECT made_at, live->>'adapter' FROM serving_servingchoice ORDER BY number"
        ).fetchall()
        audited = connection.execute(
            "SELECT action FROM audit_auditentry WHERE action LIKE 'serving.%' ORDER BY id"
        ).fetchall()
    switches = [(made_at.timestamp(), adapter) for made_at, adapter in rows]
    assert [adapter for _, adapter in switches] == ["mapper-1", "mapper-2", "mapper-1"]
    assert [one for (one,) in audited] == [
        "serving.promoted", "serving.promoted", "serving.rolled_back",
    ]  # fmt: skip
    assert {one.status for one in load.sent} == {200}, "no request has failed"
    assert_named(load.sent, switches)


def assert_named(sent: list[Sent], switches: list[tuple[float, str]]) -> None:
    """After two seconds the right version answers; in between, the one or the other."""
    ends = [at for at, _ in switches[1:]] + [float("inf")]
    for (at, adapter), end in zip(switches, ends, strict=True):
        settled = [one for one in sent if one.began > at + REACH_SECONDS and one.ended < end]
        assert len(settled) > 5
        assert {name_in(one.model) for one in settled} == {adapter}
    later: list[Any] = [one for one in sent if one.began > switches[0][0] + REACH_SECONDS]
    assert {name_in(one.model) for one in later} == {"mapper-1", "mapper-2"}


def name_in(model: str) -> str:
    """The adapter in `encoder@… embedded:mapper-1@…`; empty for retrieval alone."""
    return model.partition(" embedded:")[2].partition("@")[0]

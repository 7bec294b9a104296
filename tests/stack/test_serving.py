"""A version is promoted and rolled back while requests run: none fails, each names who answered."""

import json
import os
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

import pgtrigger
import pytest
from pydantic import SecretStr

from audit.models import AuditEntry
from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY
from mapping.resolver.artifacts import Artifacts
from mapping.serving import deploy, services
from mapping.serving.models import ServingChoice
from mapping.serving.types import ServedModel
from tests.conftest import DemoTenant
from tests.worker.running import KEY, RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.weights import adapter_in, base_in
from tests.support.small_llama import write_adapter, write_base

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
REACH_SECONDS = 2.0
ENOUGH = 12
ACTOR = "system:serving-tests"


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


@pytest.fixture
def web(worker: RunningWorker, committed: None, settings: Any, tmp_path: Path) -> Iterator[str]:
    """A web server of two processes on the tests' own database; this process has its settings."""
    adapters = worker.words[worker.words.index("--adapters") + 1]
    told = {
        "backend": "embedded", "url": worker.url, "model": "tiny", "adapter": "",
        "timeout_ms": 5_000, "adapters": adapters,
    }  # fmt: skip
    section = settings.CONFIG.inference.model_copy(update={**told, "api_key": SecretStr(KEY)})
    settings.CONFIG = settings.CONFIG.model_copy(update={"inference": section})
    port = random_port()
    environment = {
        **os.environ,
        **{f"PILLARS__INFERENCE__{name.upper()}": str(value) for name, value in told.items()},
        "PILLARS__INFERENCE__API_KEY": KEY,
        "PILLARS__MAPPING__MODE": "hybrid",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "platform")]),
    }
    words = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", "2", "--blocking-threads", "4", "--no-ws"),
        "pillars.wsgi:application",
    ]
    log = tmp_path / "web.log"
    with log.open("w") as out:
        server = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _lives(url) or server.poll() is not None, 240, pause=0.3)
        assert _lives(url), log.read_text()
        yield url
    finally:
        server.terminate()
        server.wait(60)
        with pgtrigger.ignore():
            ServingChoice.objects.all().delete()
            AuditEntry.objects.filter(actor=ACTOR).delete()


def _lives(url: str) -> bool:
    request = urllib.request.Request(f"{url}/health/live", headers={"Host": "localhost"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return bool(response.status == 200)
    except OSError:
        return False


class Load:
    """Threads that send labels which nobody has seen, one after another."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._stop = threading.Event()
        self.sent: list[Sent] = []

    def send(self, label: str) -> Sent:
        body = {"detector": "acme-scanner", "output": [{"label": label, "score": 0.9}]}
        request = urllib.request.Request(
            f"{self._url}/map", json.dumps(body).encode(),
            {
                "Host": "localhost", "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/json",
            },
        )  # fmt: skip
        began = time.time()
        try:
            with urllib.request.urlopen(request, timeout=240) as response:
                status, answer = response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return Sent(began, time.time(), error.code, "")
        return Sent(began, time.time(), status, str(answer["version_info"]["model"]))

    def _run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            self.sent.append(self.send(f"BADGE_KIND_{chr(65 + number)}_{count}"))

    def warm_up(self) -> None:
        """Each process reads the models at its first request: that takes its time."""
        with ThreadPoolExecutor(8) as pool:
            labels = [f"WARM_UP_{letter}" for letter in "ABCDEFGH"]
            assert {one.status for one in pool.map(self.send, labels)} == {200}

    def settle(self, choice: ServingChoice) -> None:
        """Return once enough requests have been answered after the choice holds everywhere."""
        holds = choice.made_at.timestamp() + REACH_SECONDS
        wait_until(lambda: sum(one.began > holds for one in list(self.sent)) >= ENOUGH, 90)

    def __enter__(self) -> "Load":
        self.warm_up()
        self._pool = ThreadPoolExecutor(3)
        self._running = [self._pool.submit(self._run, number) for number in range(3)]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for one in self._running:
            one.result(30)
        self._pool.shutdown()


def test_promoted_and_rolled_back_under_load(
    web: str, spare: DemoTenant, models: list[ServedModel], made: Path
) -> None:
    with Load(web, spare.key) as load:
        for model in models:
            deploy.load(name=model.adapter, folder=made / model.adapter)
            load.settle(services.serve_live(model=model, reason="Better.", actor=ACTOR))
        load.settle(services.serve_previous(reason="Worse.", actor=ACTOR))
    rows = list(ServingChoice.objects.order_by("number"))
    switches = [(one.made_at.timestamp(), str(one.live["adapter"])) for one in rows]
    assert [adapter for _, adapter in switches] == ["mapper-1", "mapper-2", "mapper-1"]
    audited = AuditEntry.objects.filter(actor=ACTOR).order_by("id")
    assert list(audited.values_list("action", flat=True)) == [
        "serving.promoted", "serving.promoted", "serving.rolled_back",
    ]  # fmt: skip
    assert {one.status for one in load.sent} == {200}, "no request has failed"
    assert_named(load.sent, switches)


def assert_named(sent: list[Sent], switches: list[tuple[float, str]]) -> None:
    """After two seconds the right version answers; in between, the one or the other."""
    ends = [at for at, _ in switches[1:]] + [float("inf")]
    for (at, adapter), end in zip(switches, ends, strict=True):
        settled = [one for one in sent if one.began > at + REACH_SECONDS and one.ended < end]
        assert len(settled) > ENOUGH / 2
        assert {name_in(one.model) for one in settled} == {adapter}
    later: list[Any] = [one for one in sent if one.began > switches[0][0] + REACH_SECONDS]
    assert {name_in(one.model) for one in later} == {"mapper-1", "mapper-2"}


def name_in(model: str) -> str:
    """The adapter in `encoder@… embedded:mapper-1@…`; empty for retrieval alone."""
    return model.partition(" embedded:")[2].partition("@")[0]

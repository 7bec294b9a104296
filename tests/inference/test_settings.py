"""The chooser of an installation: made from settings, one a process, counted for /metrics."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mapping import chooser as module
from mapping.chooser import current_chooser
from mapping.inference.failures import InferenceError
from mapping.resolver.types import LabelQuestion, Option
from pillars import health
from tests.inference.servers import ADAPTER, Server, as_json, good_worker

ASK = [(LabelQuestion("d", "LABEL"), [Option("A.B", "a b"), Option("A.C", "a c")])]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    module._chooser_of.cache_clear()
    yield
    module._chooser_of.cache_clear()


def configured(settings: Any, **changed: Any) -> None:
    section = settings.CONFIG.inference.model_copy(update=changed)
    settings.CONFIG = settings.CONFIG.model_copy(update={"inference": section})


def counted(outcome: str) -> float:
    labels = {"backend": "embedded", "outcome": outcome}
    return REGISTRY.get_sample_value("pillars_inference_requests_total", labels) or 0.0


@pytest.mark.django_db
def test_none_by_default(settings: Any) -> None:
    assert current_chooser() is None
    assert health.CHECKS["inference"]() == "ok"
    assert "inference" not in health.REQUIRED


@pytest.mark.django_db
def test_one_a_process_and_counted(settings: Any) -> None:
    with Server(good_worker).running() as server:
        configured(settings, backend="embedded", url=server.url, adapter=ADAPTER)
        chooser = current_chooser()
        assert chooser is not None
        assert chooser is current_chooser()
        before = counted("ok")
        chooser.choose(ASK, salt="acme")
        assert counted("ok") == before + 1
        assert health.CHECKS["inference"]() == "ok"
        server.respond = lambda *_: as_json({}, 500)
        assert "500" in health.CHECKS["inference"]()
        before = counted("failed")
        for _ in range(settings.CONFIG.inference.breaker_failures):
            with pytest.raises(InferenceError):
                chooser.choose(ASK, salt="acme")
        assert counted("failed") == before + settings.CONFIG.inference.breaker_failures
        state = REGISTRY.get_sample_value(
            "pillars_inference_breaker_state", {"backend": "embedded"}
        )
        assert state == 2


def test_a_forked_process_gets_its_own(settings: Any) -> None:
    with Server(good_worker).running() as server:
        configured(settings, backend="embedded", url=server.url, adapter=ADAPTER)
        chooser = current_chooser()
        assert chooser is not None
        chooser.choose(ASK, salt="acme")
        child = os.fork()
        if child == 0:
            try:
                mine = current_chooser()
                well = mine is not None and mine is not chooser and mine.choose(ASK, salt="acme")
                os._exit(0 if well else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

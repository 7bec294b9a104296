"""Versions of the model that fit what ships, and a process that asks a test's server."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mapping import chooser, resolvers
from mapping.mode import forget_mode
from mapping.resolver.artifacts import Artifacts
from mapping.serving.in_force import forget_serving
from mapping.serving.types import ServedModel
from mapping.switch.services import change_mode

ANN = "user:ann"


def version(name: str, digest: str = "") -> ServedModel:
    """`0.2.0` as a version of the shipped adapter, with a calibrator that fits it."""
    calibrator = Artifacts.load().calibrators[1]
    identity = calibrator.identity
    assert identity is not None
    adapter, sha256 = f"mapper-lora-{name}", digest or name.replace(".", "").ljust(64, "0")
    own = replace(identity, adapter=adapter, adapter_digest=sha256)
    return ServedModel(
        version=f"mapper-lora@v{name}", adapter=adapter, adapter_sha256=sha256,
        base=identity.base, base_sha256=identity.base_digest,
        calibrator=replace(calibrator, identity=own),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing that a test chooses outlives it."""
    forget_serving()
    forget_mode()
    yield
    forget_serving()
    forget_mode()


def start_anew() -> None:
    chooser._chooser_of.cache_clear()
    resolvers._cache.cache_clear()
    resolvers._RESOLVERS._kept.clear()


@pytest.fixture
def with_server(settings: Any) -> Iterator[Callable[..., None]]:
    """with_server(url): this process is configured for the shipped model there, mode hybrid."""

    def use(url: str = "http://127.0.0.1:9", **more: Any) -> None:
        identity = Artifacts.load().calibrators[1].identity
        assert identity is not None
        section = settings.CONFIG.inference.model_copy(
            update={
                "backend": "embedded", "url": url, "model": identity.base,
                "adapter": identity.adapter, "timeout_ms": 5_000, **more,
            }
        )  # fmt: skip
        settings.CONFIG = settings.CONFIG.model_copy(update={"inference": section})
        start_anew()
        change_mode(mode="hybrid", reason="", actor=ANN)
        forget_mode()

    yield use
    start_anew()

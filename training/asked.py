"""Whom an evaluation asks: the embedded worker's code in this process, or the configured server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from django.conf import settings

from mapping.chooser import inference_options
from mapping.inference import HttpChooser
from mapping.resolver.types import Chooser
from mapping.serving import deploy
from mapping.serving.types import ServedModel
from mapping.worker.weights import Base
from training.held_out.choosers import LocalChooser, ServedChooser, adapter_of
from training.registry.errors import RegistryError

# A late answer is no failure here: it shows in the latency, which has a gate.
_SECONDS: Final = 60.0


class OtherBaseError(RegistryError):
    """The configured server serves another base model. The message says what to do."""


def asks_server(chosen: bool | None = None) -> bool:
    """Whether the server is asked. Unless somebody has chosen: one that is not our own worker.

    A calibrator fits one kind of server alone, and our own worker's numbers can be had here.
    """
    if chosen is not None:
        return chosen
    return settings.CONFIG.inference.backend not in ("embedded", "none")


@contextmanager
def asked(*, adapter: Path, base: Base, name: str, server: bool) -> Iterator[Chooser]:
    """A chooser of a run's adapter, which knows it as `name`, its version's name on servers.

    `server`: the one of pillars.yaml, by the client that `/map` uses; what is loaded there for it
    is taken away afterwards. Raises WeightsError, or DeployError, ChooserError (also at the end,
    if an answer failed in between) and OtherBaseError.
    """
    if not server:
        yield LocalChooser(base, adapter_of(adapter, name))
        return
    _check_base(base)
    with deploy.for_a_while(adapter) as loaded:
        client = _client(base, loaded.name, adapter_of(adapter, name).sha256)
        try:
            client.check()
            chooser = ServedChooser(client, name)
            yield chooser
        finally:
            client.close()
        if chooser.failure is not None:
            raise chooser.failure


def _check_base(base: Base) -> None:
    section = settings.CONFIG.inference
    if section.model != base.name or section.model_digest not in ("", base.sha256):
        raise OtherBaseError(
            f"The run was trained on {base.name} ({base.sha256[:12]}...), and the server is to "
            f"serve {section.model} ({section.model_digest[:12] or 'of any weights'}) by "
            "inference.model and inference.model_digest. Serve the base that it was trained on."
        )


def _client(base: Base, adapter: str, sha256: str) -> HttpChooser:
    """With the digests that it would be served with: they are a part of the identity."""
    options = inference_options(ServedModel("", adapter, sha256, base.name, base.sha256, None))
    assert options is not None  # noqa: S101 - there is a server: it has loaded the adapter
    return HttpChooser(replace(options, timeout_seconds=_SECONDS))

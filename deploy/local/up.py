"""`up`: from nothing, or from whatever was left, to a running stack with two demo tenants.

Asks nothing, repeats nothing that is done, and leaves no half-started stack when it fails.
"""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deploy.local import control, demo, system
from deploy.local.console import say, step, width
from deploy.local.down import end_strays, stop_stack
from deploy.local.errors import StackError
from deploy.local.inference import forget_taken_port, is_configured, missing_packages
from deploy.local.parts import STACK_VARIABLE, servers, service_environment
from deploy.local.processes import port_is_free, wait_until
from deploy.local.stamps import Done, knowledge_stamp, source_stamp, static_stamp
from deploy.local.state import (
    REPOSITORY,
    Settings,
    StateDir,
    ensure_identity,
    hold_lock,
    is_locked,
    read_json,
)

EXAMPLES = REPOSITORY / "pillars-detectors" / "examples" / "raw-outputs.jsonl"
_NEEDED_MEGABYTES = 300
_ANSWER_SECONDS = 5.0
_SERVER_SECONDS = 60.0
_READY_SECONDS = 60.0
_HEARTBEAT_SECONDS = 45.0
_MODEL_SECONDS = 120.0
_POLL_SECONDS = 0.1
# A part that has died this often during `up` will not come.
_HOPELESS_DEATHS = 3


def up(environ: Mapping[str, str]) -> None:
    """Bring the stack up and show the demonstration. StackError if it does not stand."""
    settings = Settings.from_environment(environ)
    state = StateDir.from_environment(environ)
    started = time.monotonic()
    state.create()
    ensure_identity(state)
    lock = hold_lock(state.path / "up.lock")
    if lock is None:
        raise StackError("Another `make up` is at work here. Wait for it to end.")
    with lock:
        Up(state, settings).run()
    say(f"\nReady after {time.monotonic() - started:.1f} s. Stop it with: make down")


class Up:
    """One run of `up`."""

    def __init__(self, state: StateDir, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._done = Done(state)
        self._source = source_stamp()
        self._details: dict[str, Any] = {}
        self._started = False

    def run(self) -> None:
        """All steps, in order."""
        if hint := system.ensure():
            say(f"  {hint}")
        self._check_space()
        with self._nothing_half_started():
            self._supervise()
            self._await_servers()
            self._start_inference()
            self._set_up()
            self._start_services()
            self._await_ready()
            rows = self._demonstrate()
            self._await_worker()
            self._await_inference()
        say()
        for line in demo.lines(rows, columns=width()):
            say(line)
        self._tell_addresses()

    @contextmanager
    def _nothing_half_started(self) -> Iterator[None]:
        """If the stack does not come up, stop what this run has started."""
        try:
            yield
        except BaseException:
            if self._started:
                stop_stack(self._state)
            raise

    def _check_space(self) -> None:
        free = shutil.disk_usage(self._state.path).free // 1_000_000
        if free < _NEEDED_MEGABYTES:
            raise StackError(
                f"The disk of {self._state.path} is nearly full: {free} MB are free and "
                f"{_NEEDED_MEGABYTES} MB are needed. Free some space, or set PILLARS_STATE_DIR."
            )

    @property
    def _fingerprint(self) -> str:
        return hashlib.sha256((self._settings.fingerprint + self._source).encode()).hexdigest()

    def _supervise(self) -> None:
        """Have a supervisor that runs just this code with just these settings."""
        if is_locked(self._state.supervisor_lock):
            answers = wait_until(self._answers, _ANSWER_SECONDS)
            if answers and self._details.get("fingerprint") == self._fingerprint:
                return
            reason = "Code or settings changed" if answers else "It does not answer"
            with step(f"{reason}: stopping"):
                stop_stack(self._state)
        end_strays(self._state)
        self._check_port()
        forget_taken_port(self._state)
        embedded = servers(self._state, self._settings)
        if embedded:
            with step("Database and broker prepared"):
                for server in embedded:
                    server.prepare()
        log = self._state.log("supervisor")
        identity = str(read_json(self._state.setup_file)["stack"])
        self._started = True
        with log.open("ab") as output:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "deploy.local", "supervise", self._fingerprint],
                cwd=REPOSITORY,
                env={**os.environ, STACK_VARIABLE: identity},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        ready = wait_until(
            lambda: self._answers() or supervisor.poll() is not None, _SERVER_SECONDS
        )
        if not ready or supervisor.poll() is not None:
            raise StackError("The supervisor did not start.", log=log)

    def _answers(self) -> bool:
        try:
            self._details = control.ask(self._state, "status", seconds=_ANSWER_SECONDS)
        except StackError:
            return False
        return True

    def _check_port(self) -> None:
        port = self._settings.port
        try:
            free = port_is_free(port)
        except PermissionError:
            raise StackError(
                f"Port {port} is reserved for root. Choose a higher one: PILLARS_PORT=8800 make up"
            ) from None
        if not free:
            raise StackError(
                f"Port {port} is taken by another program. Choose another one: "
                f"PILLARS_PORT={port + 1} make up"
            )

    def _parts(self) -> dict[str, dict[str, Any]]:
        self._details = control.ask(self._state, "status")
        return {part["name"]: part for part in self._details["parts"]}

    def _await_parts(self, names: list[str], is_well: Callable[[], bool], seconds: float) -> None:
        """Wait until `is_well`; StackError for a part that keeps dying, or is not ready then."""
        before = {name: part["restarts"] for name, part in self._parts().items()}

        def hopeless(part: dict[str, Any]) -> bool:
            return bool(part["restarts"] - before[part["name"]] >= _HOPELESS_DEATHS)

        def settled() -> bool:
            parts = self._parts()
            return any(hopeless(parts[name]) for name in names) or is_well()

        wait_until(settled, seconds, pause=_POLL_SECONDS)
        parts = self._parts()
        for part in (parts[name] for name in names):
            if part["status"] != "ready" or hopeless(part):
                reason = part["error"] or "it does not answer"
                log = self._state.log(part["name"])
                raise StackError(f"{part['name']} did not start: {reason}.", log=log)

    def _all_ready(self, names: list[str]) -> bool:
        parts = self._parts()
        return all(parts[name]["status"] == "ready" for name in names)

    def _await_servers(self) -> None:
        names = [server.name for server in servers(self._state, self._settings)]
        with step(" and ".join(names).capitalize() or "Servers of your own") as current:
            for name in names:
                if self._parts()[name]["status"] == "stopped":
                    control.ask(self._state, "start", name)
            self._await_parts(names, lambda: self._all_ready(names), _SERVER_SECONDS)
            current.note = "ready"

    def _start_inference(self) -> None:
        """Let it load its model while the database is set up."""
        if self._parts().get("inference", {}).get("status") == "stopped":
            control.ask(self._state, "start", "inference")

    def _set_up(self) -> None:
        """Migrate, collect the static files, load the knowledge, make the demo tenants."""
        database = str(self._details["database"])
        stamp = f"{self._source} {knowledge_stamp()} {database} {self._settings.port}"
        static = static_stamp()
        if not ((self._state.path / "static").exists() and self._done.has("static", static)):
            self._manage("Static files", "collectstatic", "--noinput")
            self._done.note("static", static)
        # Of a database that is not ours we cannot know what happened to it since.
        known = not self._settings.database_url and self._state.credentials_file.exists()
        if known and self._done.has("database", stamp):
            return
        if not self._done.has("identity", database):
            # Credentials of another database open nothing in this one.
            self._state.credentials_file.unlink(missing_ok=True)
            self._done.note("identity", database)
        self._manage("Database migrated", "migrate_schemas")
        self._manage("Taxonomy, detectors, frameworks", "load_config")
        self._manage("Two demo tenants", "demo_setup")
        self._done.note("database", stamp)

    def _manage(self, label: str, *words: str) -> None:
        log = self._state.log(f"setup-{words[0]}")
        with step(label), log.open("wb") as output:
            result = subprocess.run(
                [sys.executable, "manage.py", *words],
                cwd=REPOSITORY,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
            if result.returncode != 0:
                raise StackError(f"`manage.py {words[0]}` failed.", log=log)

    def _environment(self) -> dict[str, str]:
        urls = read_json(self._state.state_file)
        return service_environment(
            self._state,
            self._settings,
            database_url=str(urls["database_url"]),
            redis_url=str(urls["redis_url"]),
        )

    def _start_services(self) -> None:
        for part in self._parts().values():
            if part["status"] == "stopped":
                control.ask(self._state, "start", part["name"])

    def _health(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._settings.port, timeout=5)
        try:
            host = {"Host": f"localhost:{self._settings.port}"}
            connection.request("GET", "/health/ready", headers=host)
            answer = json.loads(connection.getresponse().read())
            return answer if isinstance(answer, dict) else {}
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        finally:
            connection.close()

    def _await_ready(self) -> None:
        with step("Web server") as current:
            health: dict[str, Any] = {}

            def serves() -> bool:
                nonlocal health
                health = self._health()
                return health.get("status") in ("ready", "degraded")

            self._await_parts(["web"], serves, _READY_SECONDS)
            if not serves():
                parts = health.get("parts", {})
                failed = "; ".join(f"{name}: {parts[name]}" for name in health.get("failed", []))
                raise StackError(
                    f"The web server runs but is not ready. {failed or 'It does not answer.'}",
                    log=self._state.log("web"),
                )
            current.note = "ready"

    def _await_worker(self) -> None:
        def works() -> bool:
            return "worker" not in self._health().get("failed", ["worker"])

        with step("Worker and beat") as current:
            self._await_parts(["worker", "beat"], works, _HEARTBEAT_SECONDS)
            if not works():
                raise StackError("The worker gives no sign of life.", log=self._state.log("worker"))
            current.note = "ready"

    def _await_inference(self) -> None:
        """The stack stands without it: retrieval alone then answers labels that no rule knows."""
        without = "Labels that no rule knows are answered without it."
        if "inference" not in self._parts():
            if not is_configured(os.environ):
                missing = ", ".join(missing_packages())
                say(f"  No language model: not installed are {missing}. {without}")
            return
        before = self._parts()["inference"]["restarts"]

        def settled() -> bool:
            part = self._parts()["inference"]
            died = part["restarts"] - before >= _HOPELESS_DEATHS
            return died or part["status"] in ("ready", "stopped")

        with step("Language model") as current:
            wait_until(settled, _MODEL_SECONDS, pause=_POLL_SECONDS)
            part = self._parts()["inference"]
            current.note = "ready" if part["status"] == "ready" else "not running"
        if part["status"] != "ready":
            reason = part["error"] or "it is still loading"
            say(f"  {without} Reason: {reason} ({self._state.log('inference')})")

    def _demonstrate(self) -> list[tuple[str, ...]]:
        demonstration = demo.Demo(self._state, EXAMPLES, database=str(self._details["database"]))
        rows = demonstration.kept()
        if rows:
            return rows
        tenants = read_json(self._state.credentials_file).get("tenants", [])
        if not tenants:
            raise StackError(
                f"{self._state.credentials_file} names no tenant.",
                log=self._state.log("setup-demo_setup"),
            )
        with step("Real detector outputs mapped"):
            return demonstration.run(port=self._settings.port, api_key=tenants[0]["api_key"])

    def _tell_addresses(self) -> None:
        url = self._settings.base_url
        credentials = read_json(self._state.credentials_file)
        addresses = [("API", f"{url}/map"), ("API documentation", f"{url}/docs")]
        platform = credentials.get("platform_admin", {})
        addresses.append(("Platform admin", platform.get("url") or f"{url}/admin/"))
        tenants = credentials.get("tenants", [])
        addresses += [(f"{tenant['name']}'s admin", tenant["url"]) for tenant in tenants]
        addresses.append(("Users, passwords, API keys", str(self._state.credentials_file)))
        wide = max(len(name) for name, _ in addresses)
        say()
        for name, address in addresses:
            say(f"  {name:<{wide}}  {address}")

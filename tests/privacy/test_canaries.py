"""No raw text that was sent is kept: not in the database, the broker, a log or a file."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.local.postgres import EmbeddedPostgres
from deploy.local.state import StateDir, read_json
from tests.browser.stack import OwnStack
from tests.privacy.canaries import CANARIES, TEXTS, Search, Sighting
from tests.privacy.traffic import (
    TENANT_LISTS,
    Person,
    Service,
    send_addresses,
    send_bodies,
    send_headers,
    send_items,
    send_searches,
)

pytestmark = pytest.mark.stack
PROOF = "proofofsearch-41"  # stored on purpose, as a tenant's name: the search must find it


class World:
    """A stack of its own and all that it keeps."""

    def __init__(self, own: OwnStack) -> None:
        self.state = StateDir.from_environment(own._environment)
        self.addresses = read_json(self.state.state_file)
        self.port = int(own._environment["PILLARS_PORT"])
        self.own = own

    def dump(self) -> bytes:
        """Every schema, as PostgreSQL's own pg_dump writes it."""
        server = EmbeddedPostgres(self.state.path / "postgres")
        server.prepare()
        done = subprocess.run(
            [str(server.tool("pg_dump")), self.addresses["database_url"]],
            capture_output=True,
            check=True,
        )
        return done.stdout

    def broker(self) -> bytes:
        """Every key and value of the broker."""
        client = redis.Redis.from_url(self.addresses["redis_url"])
        return b"\n".join(
            part for key in client.scan_iter() for part in (key, client.dump(key) or b"")
        )

    def files(self) -> Iterator[Path]:
        """Logs and everything else in the state directory, without the database's own pages."""
        for path in sorted(self.state.path.rglob("*")):
            if path.is_file() and "data" not in path.relative_to(self.state.path).parts:
                yield path

    def sightings(self, search: Search) -> list[Sighting]:
        return [
            *search.look("database dump", self.dump()),
            *search.look("broker", self.broker()),
            *search.look_into_files(self.files()),
        ]


def test_nothing_raw_is_kept_anywhere() -> None:
    own = OwnStack()
    with own as stack:
        world = World(own)
        service = Service(world.port, stack.api_key())
        admin = Person(service, stack.person("admin"))
        for text in TEXTS.values():
            send_items(service, text)
            assert 500 not in send_bodies(service, text)
            assert 500 not in send_headers(service, text)
            assert 500 not in send_addresses(service, text)
            assert 500 not in send_searches(admin, TENANT_LISTS, text)
        own._run("manage", "tenant", "create", PROOF, "--name", "Proof")
        search = Search(CANARIES)
        found = world.sightings(search)
        assert not found, "\n".join(f"{s.canary} in {s.place}: {s.around}" for s in found[:20])
        assert search.searched > 100_000
        proof = world.sightings(Search({"proof": (PROOF, (PROOF,))}))
        assert {sighting.place for sighting in proof} >= {"database dump"}
        assert b"canonical" in world.dump()  # events were kept, and searched

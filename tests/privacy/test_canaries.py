"""Raw text sent to any place of a running service is found nowhere afterwards.

Not in a full dump of the database, its files and its log, the broker, any log, any file of the
state directory, or the metrics; in no spelling (JSON escapes, percent, base64, hex, ...).
"""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import redis

from deploy.local.postgres import EmbeddedPostgres
from deploy.local.state import StateDir, read_json
from tests.privacy import traffic
from tests.privacy.canaries import CANARIES, TEXTS, Search, Sighting
from tests.support.stack import OwnStack, Stack

# Kept on purpose, as the name of an API key and as notes of a choice of a release, of a decision on
# a label and of its suggestion: so that the search is seen to find what is there.
KEPT = {
    "kept": ("Kept gateway of mirabelle.quux@kept.example.org", ("mirabelle.quux",)),
    "note": ("Kept until beryl.quux@kept.example.org has read it", ("beryl.quux",)),
    "decision": ("Kept as opal.quux@kept.example.org decided", ("opal.quux",)),
    "suggestion": ("Kept as garnet.quux@kept.example.org suggests", ("garnet.quux",)),
}


class Flooded:
    """A stack to which every canary was sent by every way, its worker stopped in the end."""

    def __init__(self, own: OwnStack, stack: Stack) -> None:
        self.own, self.stack = own, stack
        self.state = StateDir.from_environment(own.environment)
        self.urls: dict[str, Any] = read_json(self.state.state_file)
        self.service = traffic.Service(int(own.environment["PILLARS_PORT"]), stack.api_key())
        self.statuses: dict[str, set[int]] = {}
        self.answers: list[Any] = []
        self.key_page = self.pin_page = self.by_models = 0
        self.review_pages: list[int] = []
        self.admin = traffic.Person.logged_in(self.service, stack.person("admin"))
        self.operator = traffic.Person.logged_in(self.service, stack.operator)

    def flood(self) -> None:
        """Send everything; then the fields without the database, and without the broker."""
        for canary in TEXTS.values():
            self.answers += traffic.send_items(self.service, canary)
            self._send_others("all well", canary)
        for part in ("postgres", "broker"):
            self.own.run("stop", part)
            try:
                for canary in TEXTS.values():
                    self._send_fields(f"no {part}", canary)
            finally:
                self.own.run("start", part)
            self._wait_until_ready()
        self._leave_work_in_the_queue()
        self.key_page = self.admin.post(
            "/admin/keys/apikey/add/", {"name": KEPT["kept"][0], "scopes": ["map:write"]}
        )
        self.pin_page = self.admin.post(
            "/admin/mapping/knowledgepin/pin/", {"note": KEPT["note"][0], "seen": 1, "newest": 1}
        )

        self._decide_on_a_label()

    def _decide_on_a_label(self) -> None:
        """Whose detector and label are plainly such, so that they may be suggested to everybody."""
        slug = self.admin.host.split(".")[0]
        self.stack.manage("rebuild_review", "--tenant", slug)
        review, decision = "/admin/mapping/reviewitem/decide/", "/admin/mapping/labeldecision"
        with psycopg.connect(self.urls["database_url"]) as connection:
            schema = connection.execute(
                "SELECT schema_name FROM public.tenants_tenant WHERE slug = %s", [slug]
            ).fetchone()
            assert schema is not None
            connection.execute("SELECT set_config('search_path', %s, false)", schema)
            one = connection.execute(
                "SELECT id FROM mapping_reviewitem WHERE (detector, label) = (%s, %s)",
                ["presidio", "BADGE_NO"],
            ).fetchone()
            assert one is not None
            form = {"item": str(one[0]), "note": KEPT["decision"][0], "not_a_finding": "on"}
            self.review_pages.append(self.admin.post(review, form))
            made = connection.execute("SELECT id FROM mapping_labeldecision").fetchone()
            assert made is not None
        form = {"note": KEPT["suggestion"][0]}
        self.review_pages.append(self.admin.post(f"{decision}/{made[0]}/suggest/", form))

    def _send_others(self, when: str, canary: str) -> None:
        seen = self.statuses.setdefault(when, set())
        seen |= traffic.send_bodies(self.service, canary)
        seen |= traffic.send_headers(self.service, canary)
        seen |= traffic.send_addresses(self.service, canary)
        seen |= traffic.send_searches(self.admin, traffic.TENANT_LISTS, canary)
        seen |= traffic.send_searches(self.operator, traffic.PLATFORM_LISTS, canary)
        for host in (self.admin.host, self.operator.host):
            seen.add(traffic.send_login(self.service, host, canary))

    def _send_fields(self, when: str, canary: str) -> None:
        seen = self.statuses.setdefault(when, set())
        items = list(traffic.fields(canary))
        seen.add(self.service.call("POST", "/map/batch", {"requests": items})[0])
        for item in items:
            status, answer = self.service.call("POST", "/map", item)
            seen.add(status)
            if status == 200:
                self.answers.append(answer)
                self.by_models += answer["version_info"]["calibrator"] is not None
        word = quote(canary, safe="")
        for path in (
            f"/events?detector={word}",
            f"/events?label={word}",
            f"/reports?cursor={word}",
        ):
            seen.add(self.service.call("GET", path)[0])
        seen.add(self.service.call("POST", "/reports", {"framework": canary})[0])
        seen.add(self.admin.get(f"/admin/mapping/mappingevent/?q={word}"))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while self.service.call("GET", "/health/ready")[1]["status"] != "ready":
            assert time.monotonic() < deadline, "the stack does not recover"
            time.sleep(0.2)

    def _leave_work_in_the_queue(self) -> None:
        """What a request has the worker do stays in the broker, to be searched."""
        self.own.run("stop", "worker")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        wanted = {"framework": "soc2", "period_start": today, "period_end": today}
        status, _ = self.service.call("POST", "/reports", wanted, User_Agent=TEXTS["jwt"])
        assert status == 202

    def dump(self) -> bytes:
        """The whole database as SQL, every schema with its data."""
        tool = EmbeddedPostgres(self.state.path / "postgres").tool("pg_dump")
        command = [str(tool), "--format=plain", "--dbname", self.urls["database_url"]]
        return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout

    def broker(self) -> Iterator[tuple[str, bytes]]:
        """Everything in every database of the broker: (what it is, its name and its value)."""
        for number in range(16):
            with redis.Redis.from_url(self.urls["redis_url"], db=number) as client:
                for key in client.scan_iter(count=1000):
                    yield f"broker {number} {key!r}", b"\0".join((key, *value(client, key)))

    def files(self) -> list[Path]:
        """All files of the state directory, and of the database where that lies elsewhere."""
        home = Path((self.state.path / "postgres" / "home").read_text(encoding="utf-8").strip())
        found = {path for folder in (self.state.path, home) for path in folder.rglob("*")}
        return sorted(path for path in found if path.is_file() and not path.is_symlink())


def value(client: Any, key: bytes) -> Iterator[bytes]:
    """All strings in the value of a key of any type."""
    match client.type(key):
        case b"string":
            yield client.get(key) or b""
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"set":
            yield from client.smembers(key)
        case b"zset":
            yield from client.zrange(key, 0, -1)
        case b"hash":
            yield from chain.from_iterable(client.hgetall(key).items())
        case b"stream":
            for _, entry in client.xrange(key):
                yield from chain.from_iterable(entry.items())
        case b"none":
            return  # it ended just now
        case other:
            raise AssertionError(f"A type of value that is not searched: {other}")


@pytest.fixture(scope="module")
def flooded() -> Iterator[Flooded]:
    own = OwnStack(PILLARS__MAPPING__MODE="hybrid")  # as shipped: the models read descriptions
    with own as stack:
        flooded = Flooded(own, stack)
        flooded.flood()
        yield flooded


@pytest.fixture
def search() -> Search:
    return Search(CANARIES)


@pytest.fixture
def kept() -> Search:
    return Search(KEPT)


def assert_none(sightings: Iterator[Sighting]) -> None:
    """Say which canary is where, if there is one."""
    found = [f"{s.canary} in {s.place}: {s.around}" for s in sightings]
    assert not found, f"{len(found)} sightings\n" + "\n".join(found[:20])


@pytest.mark.stack
@pytest.mark.timeout(600)
class TestWhatIsKept:
    def test_every_canary_has_arrived(self, flooded: Flooded) -> None:
        well = flooded.statuses["all well"]
        assert well >= {200, 302, 400, 401, 403, 404, 405, 406, 413, 415, 422}
        assert not {status for status in well if status >= 500}
        assert 503 in flooded.statuses["no postgres"]
        assert flooded.statuses["no broker"] >= {200, 422}
        batches = [answer for answer in flooded.answers if "results" in answer]
        mapped = [result for batch in batches for result in batch["results"] if result]
        assert len(mapped) > 5_000
        digests = [f["source_digest"] for m in mapped for f in m["findings"] if f["source_digest"]]
        assert len(digests) > 1_000  # they stood where labels stand, and were seen there
        assert json.dumps(mapped).count('"hmac:') > 5 * len(TEXTS)
        # Without the broker, and each as the description of labels that no rule knows.
        assert flooded.by_models > 4 * len(TEXTS)

    def test_no_answer_of_map_quotes_one(self, flooded: Flooded, search: Search) -> None:
        """Answers are kept for Idempotency-Keys, also those that refuse items of a batch."""
        seen = (search.look("answer", json.dumps(answer).encode()) for answer in flooded.answers)
        assert_none(chain.from_iterable(seen))

    def test_none_is_in_the_database(self, flooded: Flooded, search: Search) -> None:
        dump = flooded.dump()
        assert dump.count(b"COPY ") > 50
        assert_none(search.look("dump", dump))

    def test_none_is_in_the_broker(self, flooded: Flooded, search: Search) -> None:
        content = dict(flooded.broker())
        assert b"report" in b"".join(content.values())  # the one that waits for a worker
        assert any("pillars:verdict:" in place for place in content)  # of the models
        seen = (search.look(place, held) for place, held in content.items())
        assert_none(chain.from_iterable(seen))

    def test_none_is_in_a_log(self, flooded: Flooded, search: Search) -> None:
        logs = sorted(flooded.state.logs.glob("*"))
        assert {log.stem for log in logs} >= {"postgres", "broker", "web", "worker", "beat"}
        assert_none(search.look_into_files(logs))
        assert search.searched > 1_000_000  # a line for each request

    def test_none_is_in_any_file(self, flooded: Flooded, search: Search) -> None:
        """The database's own files and its write-ahead log among them."""
        files = flooded.files()
        assert any("pg_wal" in file.parts for file in files)
        assert_none(search.look_into_files(files))

    def test_none_is_in_the_metrics(self, flooded: Flooded, search: Search) -> None:
        status, metrics, _ = flooded.service.ask("GET", "/metrics")
        assert status == 200
        assert b"pillars_http_requests_total" in metrics
        assert_none(search.look("metrics", metrics))

    def test_the_search_finds_what_is_kept(self, flooded: Flooded, kept: Search) -> None:
        """The texts that were stored on purpose: in the dump, and in the database's files."""
        assert (flooded.key_page, flooded.pin_page) == (200, 302)
        assert flooded.review_pages == [302, 302]
        assert {s.canary for s in kept.look("dump", flooded.dump())} == set(KEPT)
        assert {s.canary for s in kept.look_into_files(flooded.files())} == set(KEPT)

    def test_what_is_kept_is_in_no_log(self, flooded: Flooded, kept: Search) -> None:
        assert_none(kept.look_into_files(sorted(flooded.state.logs.glob("*"))))


@pytest.mark.parametrize("name", CANARIES)
def test_the_search_finds_every_spelling(name: str, search: Search) -> None:
    text = TEXTS[name]
    raw = text.encode()
    message = json.dumps({"args": [{"output": text}], "n": 1}).encode()
    spellings = [
        raw, raw.upper(), message, json.dumps(message.decode()).encode(),
        quote(text, safe="").encode(), b"a=" + quote(quote(text)).encode(), repr(text).encode(),
        repr(raw).encode(), b"\\\\x" + raw.hex().encode(), text.lower().encode(),
        *(base64.b64encode(b"x" * n + raw + b"y" * 5) for n in range(4)),
        *(base64.urlsafe_b64encode(b"x" * n + message) for n in range(4)),
    ]  # fmt: skip
    for spelling in spellings:
        found = {sighting.canary for sighting in search.look("here", b"before " + spelling + b" z")}
        assert name in found, spelling
    assert list(search.look("here", b"nothing of that kind")) == []


def test_the_search_looks_at_names_of_files(tmp_path: Path, search: Search) -> None:
    (tmp_path / f"{TEXTS['email']}.txt").write_text("x")
    assert {s.canary for s in search.look_into_files(tmp_path.iterdir())} == {"email"}

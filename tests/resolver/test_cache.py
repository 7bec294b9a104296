"""Verdicts that are kept: never those of another question, knowledge or calibrator."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from access.keys.limiter import store
from deploy.local.broker import EmbeddedBroker
from deploy.local.processes import wait_until
from mapping import resolvers
from mapping.resolver.cache import VerdictCache
from mapping.resolver.settle import Verdict
from mapping.resolver.types import LabelQuestion
from mapping.resolvers import RedisStore

SECRET = b"secret of the tests"
QUESTION = LabelQuestion("my-tool", "card no", "a description", "pii", "1.2")
VERDICT = Verdict(
    ("PII.Contact.Email", "PII.Other"), 0.75, "PII.Contact", 0.875,
    (("PII.Contact.Email", 0.7), ("PII.Other", 0.2)), ("PII.Contact.Email",), "model",
)  # fmt: skip


class MemoryStore:
    """A shared store in this process."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self.kept.get(key) for key in keys]

    def set_many(self, values: Mapping[str, bytes]) -> None:
        self.kept.update(values)


class TestKeys:
    def test_change_with_every_field_of_the_question(self) -> None:
        cache = VerdictCache(SECRET)
        keys = {
            cache.key(QUESTION._replace(**{name: text}), "f")
            for name in LabelQuestion._fields
            for text in ("", "another", getattr(QUESTION, name))
        }
        assert len(keys) == 2 * len(LabelQuestion._fields) + 1

    def test_fields_do_not_run_together(self) -> None:
        cache = VerdictCache(SECRET)
        first, second = LabelQuestion("d", "a", "b"), LabelQuestion("d", 'a", "b')
        assert cache.key(first, "f") != cache.key(second, "f")

    def test_change_with_fingerprint_and_secret(self) -> None:
        keys = {
            VerdictCache(secret).key(QUESTION, print_)
            for secret in (SECRET, b"other")
            for print_ in ("f", "g")
        }
        assert len(keys) == 4

    def test_quote_nothing_and_take_any_text(self) -> None:
        key = VerdictCache(SECRET).key(QUESTION._replace(label="\ud800\x00"), "f")
        assert len(key) == 64
        assert int(key, 16)


class TestKeeping:
    def test_what_was_put_is_found(self) -> None:
        cache = VerdictCache(SECRET)
        assert cache.get(["k"]) == {}
        cache.put({"k": VERDICT})
        assert cache.get(["j", "k"]) == {"k": VERDICT}

    def test_the_least_recently_used_goes_first(self) -> None:
        cache = VerdictCache(SECRET, most=2)
        cache.put({"a": VERDICT, "b": VERDICT})
        cache.get(["a"])
        cache.put({"c": VERDICT})
        assert set(cache.get(["a", "b", "c"])) == {"a", "c"}

    def test_a_store_is_shared_and_holds_no_words_of_the_vendor(self) -> None:
        shared = MemoryStore()
        first, second = VerdictCache(SECRET, shared), VerdictCache(SECRET, shared)
        key = first.key(QUESTION, "f")
        first.put({key: VERDICT})
        assert second.get([key]) == {key: VERDICT}
        held = repr(shared.kept)
        assert not any(text in held for text in ("card no", "description", "my-tool"))
        shared.kept.clear()
        assert second.get([key]) == {key: VERDICT}  # kept here too

    @pytest.mark.parametrize(
        "held",
        [
            b"", b"\xff\x00", b"null", b"7", b"{}", b"[]", b'"seven.."', b"[" * 100_000,
            *(
                json.dumps(VERDICT._replace(**change)).encode()
                for change in (
                    {"labels": ()}, {"labels": "PII"}, {"labels": (1,)}, {"confidence": 2},
                    {"confidence": float("nan")}, {"confidence": "x"}, {"method": "magic"},
                    {"candidates": 1}, {"candidates": (("A", 7),)}, {"review": "PII"},
                    {"branch_confidence": None},
                )
            ),
        ],
    )  # fmt: skip
    def test_what_is_no_verdict_is_as_if_it_were_not_there(self, held: bytes) -> None:
        shared = MemoryStore()
        shared.kept["k"] = held
        cache = VerdictCache(SECRET, shared)
        assert cache.get(["k"]) == {}
        cache.put({"k": VERDICT})
        assert VerdictCache(SECRET, shared).get(["k"]) == {"k": VERDICT}


class TestInTheBroker:
    @pytest.fixture
    def server(
        self, tmp_path_factory: pytest.TempPathFactory, settings: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[EmbeddedBroker]:  # fmt: skip
        place: Path = tmp_path_factory.mktemp("store")
        broker = EmbeddedBroker(place / "broker")
        broker.start()
        settings.REDIS_URL = broker.url
        store.cache_clear()
        monkeypatch.setattr(resolvers, "_PAUSE_SECONDS", 0.2)
        yield broker
        store.cache_clear()
        broker.delete()

    def test_another_process_finds_it_and_it_ends(self, server: EmbeddedBroker) -> None:
        VerdictCache(SECRET, RedisStore()).put({"k": VERDICT})
        assert VerdictCache(SECRET, RedisStore()).get(["k", "j"]) == {"k": VERDICT}
        assert 0 < store().ttl("pillars:verdict:k") <= 7 * 24 * 3600

    def test_other_values_there_are_as_if_there_were_none(self, server: EmbeddedBroker) -> None:
        store().set("pillars:verdict:a", b"\xff\xfe")
        store().set("pillars:verdict:b", "[1]")
        store().lpush("pillars:verdict:c", "x")
        cache = VerdictCache(SECRET, RedisStore())
        assert cache.get(["a", "b", "c"]) == {}

    def test_stopped_it_is_as_if_empty_and_soon_back(self, server: EmbeddedBroker) -> None:
        cache = VerdictCache(SECRET, RedisStore())
        cache.put({"k": VERDICT})
        server.stop()
        assert cache.get(["k", "j"]) == {"k": VERDICT}  # of this process
        other = VerdictCache(SECRET, RedisStore())
        assert other.get(["k"]) == {}
        other.put({"m": VERDICT})
        assert other.get(["m"]) == {"m": VERDICT}
        server.start()

        def kept() -> bool:
            RedisStore().set_many({"n": b"1"})
            return RedisStore().get_many(["n"]) == ["1"]

        assert wait_until(kept, 10)
        assert wait_until(
            lambda: bool(other.put({"o": VERDICT}) or store().exists("pillars:verdict:o")), 10
        )

"""The whole way of a question: the same answer in any company, order and state of the cache."""

import random
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapping.inference import HttpChooser
from mapping.resolver.artifacts import Artifacts
from mapping.resolver.cache import VerdictCache
from mapping.resolver.prompt import build_prompt, options_for
from mapping.resolver.resolver import Resolver
from mapping.resolver.settle import METHODS
from mapping.resolver.types import LabelQuestion, ModelIdentity
from tests.inference.servers import Server
from tests.resolver.conftest import MakeResolver
from tests.resolver.test_cache import MemoryStore
from tests.support.model_server import client_of, model_server, responder, sure_of

LABELS = [
    "credit card", "weapon_sales", "no threats found", "zorblax quumble", "身份证号码", "nsfw",
    "drugs, weapons and banned substances", "hate/threatening", "benign", "latency_ms",
]  # fmt: skip
ASKED = [
    LabelQuestion("my-tool", label, description)
    for label in LABELS
    for description in ("", f"the vendor's words for {label}")
]
QUICK = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@pytest.fixture(scope="module")
def identity(artifacts: Artifacts) -> ModelIdentity:
    """The model that the shipped calibrator was fitted for."""
    found = artifacts.calibrators[1].identity
    assert found is not None
    return found


@pytest.fixture(scope="module")
def server(identity: ModelIdentity) -> Iterator[Server]:
    with model_server(identity) as running:
        yield running


@pytest.fixture
def chooser(server: Server, identity: ModelIdentity) -> Iterator[HttpChooser]:
    """A client that has reached no server yet."""
    with client_of(identity, server.url) as made:
        yield made


@pytest.fixture(scope="module")
def expected(
    server: Server, identity: ModelIdentity, make_resolver: MakeResolver
) -> dict[LabelQuestion, Any]:
    """Each question asked alone, without a cache."""
    with client_of(identity, server.url) as made:
        resolver = make_resolver(made)
        found = {one: resolver.resolve([one])[one] for one in ASKED}
    assert {verdict.method for verdict in found.values()} == {"model"}
    return found


class TestTheSameAnswer:
    @given(seed=st.integers(0, 10_000))
    @QUICK
    def test_the_order_of_options_changes_no_prompt(
        self, taxonomy: dict[str, Any], resolver: Resolver, seed: int
    ) -> None:
        rng = random.Random(seed)
        options = options_for(rng.sample(resolver.names, 8), taxonomy)
        prompt = build_prompt(ASKED[0], options)
        rng.shuffle(options)
        assert build_prompt(ASKED[0], options) == prompt
        assert list(prompt.names) == sorted(prompt.names)

    @given(seed=st.integers(0, 10_000))
    @QUICK
    def test_company_order_and_cache_change_no_verdict(
        self, server: Server, identity: ModelIdentity, make_resolver: MakeResolver,
        expected: dict[LabelQuestion, Any], seed: int,
    ) -> None:  # fmt: skip
        rng = random.Random(seed)
        shared = MemoryStore()
        with client_of(identity, server.url) as first, client_of(identity, server.url) as second:
            for made in (first, second):  # two processes, one store
                resolver = make_resolver(made, VerdictCache(b"s", rng.choice([shared, None])))
                for _ in range(2):
                    some = rng.choices(ASKED, k=rng.randint(1, 12))
                    assert resolver.resolve(some) == {one: expected[one] for one in some}

    def test_retrieval_too(self, resolver: Resolver, make_resolver: MakeResolver) -> None:
        alone = {one: resolver.resolve([one])[one] for one in ASKED}
        cached = make_resolver(cache=VerdictCache(b"s"))
        for _ in range(2):
            assert cached.resolve(ASKED[::-1]) == resolver.resolve(ASKED) == alone

    def test_verdicts_of_retrieval_that_are_kept_do_not_stand_in_the_models_way(
        self, chooser: HttpChooser, make_resolver: MakeResolver, expected: dict[LabelQuestion, Any]
    ) -> None:
        """The store was filled while the model's server was down."""
        cache = VerdictCache(b"s")
        kept = make_resolver(cache=cache).resolve(ASKED)
        assert {verdict.method for verdict in kept.values()} == {"retrieval"}
        assert chooser.identity is None
        assert make_resolver(chooser, cache).resolve(ASKED) == expected
        assert make_resolver(cache=cache).resolve(ASKED) == kept


class TestWhatIsKept:
    def test_other_knowledge_or_calibrator_finds_nothing_old(
        self, make_resolver: MakeResolver, artifacts: Artifacts
    ) -> None:
        shared = MemoryStore()
        one = [ASKED[0]]
        make_resolver(cache=VerdictCache(b"s", shared)).resolve(one)
        assert len(shared.kept) == 1
        make_resolver(cache=VerdictCache(b"s", shared)).resolve(one)
        assert len(shared.kept) == 1
        make_resolver(cache=VerdictCache(b"s", shared), knowledge="two").resolve(one)
        assert len(shared.kept) == 2
        other = [replace(artifacts.calibrators[0], dataset="another")]
        make_resolver(cache=VerdictCache(b"s", shared), calibrators=other).resolve(one)
        assert len(shared.kept) == 3

    def test_a_model_that_failed_is_asked_again(
        self, identity: ModelIdentity, make_resolver: MakeResolver, expected: Any
    ) -> None:
        with model_server(identity) as own, client_of(identity, own.url) as chooser:
            resolver = make_resolver(chooser, VerdictCache(b"s"))
            own.respond = lambda *_: (500, "text/plain", b"no")
            found = resolver.resolve(ASKED[:2])
            assert {verdict.method for verdict in found.values()} == {"retrieval"}
            own.respond = responder(identity)
            assert resolver.resolve(ASKED[:2]) == {one: expected[one] for one in ASKED[:2]}


class TestTheModel:
    def test_its_opinion_counts(self, identity: ModelIdentity, make_resolver: MakeResolver) -> None:
        asked = LabelQuestion("my-tool", "weapon_sales")
        found = {}
        for words in ("weapons conventional", "weapons cbrn"):
            with (
                model_server(identity, sure_of(words)) as own,
                client_of(identity, own.url) as chooser,
            ):
                found[words] = make_resolver(chooser).resolve([asked])[asked]
        first, second = found.values()
        assert first.labels[0] == "HARM.WEAPONS.Conventional"
        assert (
            dict(first.candidates)["HARM.WEAPONS.CBRN"]
            < dict(second.candidates)["HARM.WEAPONS.CBRN"]
        )

    def test_another_model_is_not_asked(
        self, identity: ModelIdentity, make_resolver: MakeResolver
    ) -> None:
        other = replace(identity, adapter_digest="0" * 64)
        with model_server(other) as own, client_of(other, own.url) as chooser:
            resolver = make_resolver(chooser, VerdictCache(b"s"))
            for _ in range(2):
                assert resolver.resolve([ASKED[0]])[ASKED[0]].method == "retrieval"
            assert resolver.refused == other
            assert resolver.calibrator().identity is None

    def test_a_closed_port_costs_no_answer(
        self, identity: ModelIdentity, make_resolver: MakeResolver, resolver: Resolver
    ) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            with client_of(identity, url) as chooser:
                made = make_resolver(chooser, VerdictCache(b"s"))
                assert made.resolve(ASKED) == resolver.resolve(ASKED)

    def test_a_sleeping_server_is_not_waited_for(
        self, identity: ModelIdentity, make_resolver: MakeResolver, resolver: Resolver
    ) -> None:
        good = responder(identity)

        def slow(method: str, path: str, body: Any) -> Any:
            time.sleep(2)
            return good(method, path, body)

        with (
            Server(slow).running() as own,
            client_of(identity, own.url, timeout_seconds=0.2) as chooser,
        ):
            made = make_resolver(chooser, VerdictCache(b"s"))
            started = time.monotonic()
            assert made.resolve(ASKED[:4]) == resolver.resolve(ASKED[:4])
            assert time.monotonic() - started < 1.5

    def test_versions_say_who_answered(
        self, chooser: HttpChooser, make_resolver: MakeResolver, artifacts: Artifacts
    ) -> None:
        made = make_resolver(chooser)
        encoder = f"encoder@{artifacts.encoder_digest[:12]}"
        retrieval, model = artifacts.calibrators
        assert made.versions(with_model=False) == (encoder, retrieval.version)
        made.resolve(ASKED[:1])
        name, version = made.versions(with_model=True)
        assert name.startswith(f"{encoder} embedded:mapper-lora-0.1.0@")
        assert version == model.version
        assert made.versions(with_model=False) == (encoder, retrieval.version)


class TestAnyText:
    @given(label=ANY_TEXT, description=ANY_TEXT, detector=ANY_TEXT)
    @settings(QUICK, max_examples=40)
    def test_gets_a_verdict_that_makes_sense(
        self, resolver: Resolver, label: str, description: str, detector: str
    ) -> None:
        asked = LabelQuestion(detector, label, description, detector)
        self._check(resolver, asked)

    @pytest.mark.parametrize(
        "text",
        ["", " ", "\x00", "\ud800\udfff", "\u202e\u0000\uffff", "a" * 200_000, "a b " * 20_000,
         "," * 10_000, "a, " * 9_000, "\U0001f600" * 5_000, "ﷺ" * 2_000, "e" + "\u0301" * 3_000],
    )  # fmt: skip
    def test_hostile_and_long_ones_too(
        self, chooser: HttpChooser, make_resolver: MakeResolver, resolver: Resolver, text: str
    ) -> None:
        asked = LabelQuestion(text, text, text, text, text)
        self._check(resolver, asked)
        self._check(make_resolver(chooser, VerdictCache(b"s", MemoryStore())), asked)

    def _check(self, resolver: Resolver, asked: LabelQuestion) -> None:
        (found,) = resolver.resolve([asked, asked]).values()
        assert found.labels
        assert {*found.labels, *found.review, *dict(found.candidates)} <= {*resolver.names}
        shares = [share for _, share in found.candidates]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1.0001
        assert 0 <= found.confidence <= 1
        assert 0 <= found.branch_confidence <= 1
        assert found.method in METHODS

    def test_no_question_has_no_verdict(self, resolver: Resolver) -> None:
        assert resolver.resolve([]) == {}

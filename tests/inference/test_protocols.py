"""The dialects of the servers.

vLLM's shapes are from the source of vLLM 0.32; tests/bench/parity.py asks a real one. The shapes of
TGI and llama.cpp are from their documentation and source, not from a run: neither can be had here.
"""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapping.inference import HttpChooser, InferenceOptions
from mapping.inference.answers import FLOOR, choice_of
from mapping.inference.failures import InferenceError
from mapping.resolver.prompt import LETTERS, SYSTEM
from mapping.resolver.types import LabelQuestion, Option
from tests.inference.servers import ADAPTER, MODEL, Reply, Server, as_json

QUESTION = LabelQuestion("acme-guard", "TOXIC_INSULT", "words that insult")
OPTIONS = [Option("A.B", "a b: first"), Option("A.C", "a c: second"), Option("B.D", "b d: third")]


def choose(server: Server, backend: str, **changed: Any) -> Any:
    options: dict[str, Any] = {
        "backend": backend,
        "url": server.url,
        "model": MODEL,
        "adapter": ADAPTER,
        "timeout_seconds": 5,
        "salt_key": b"k",
        **changed,
    }
    chooser = HttpChooser(InferenceOptions(**options))
    try:
        [choice] = chooser.choose([(QUESTION, OPTIONS)], salt="acme")
    finally:
        chooser.close()
    return choice, chooser.identity


def fails(server: Server, backend: str, **changed: Any) -> str:
    with pytest.raises(InferenceError) as caught:
        choose(server, backend, **changed)
    return caught.value.outcome


class TestVllm:
    """A template with four tokens around each message; letters have tokens 65 to 90."""

    @staticmethod
    def serve(method: str, path: str, body: Any) -> Reply:
        if path == "/v1/models":
            base = {"id": MODEL, "object": "model", "root": "/models/base", "parent": None}
            adapter = {"id": ADAPTER, "object": "model", "root": "/adapters/7", "parent": MODEL}
            return as_json({"object": "list", "data": [base, adapter]})
        if "logprob_token_ids" not in body:
            tokens: list[int] = []
            for message in body["messages"]:
                role = 1001 if message["role"] == "user" else 1002
                tokens += [1000, role, *message["content"].encode(), 1003]
            return as_json({"model": body["model"], "prompt_token_ids": tokens, "choices": []})
        assert body["return_tokens_as_token_ids"] is True
        top = [
            {"token": f"token_id:{token}", "logprob": -float(token - 64), "bytes": [65]}
            for token in body["logprob_token_ids"]
        ]
        # The sampled token comes along, whatever it is.
        top.insert(0, {"token": "token_id:7", "logprob": -0.2, "bytes": [32]})
        content = [{"token": "token_id:7", "logprob": -0.2, "bytes": [], "top_logprobs": top}]
        return as_json(
            {"model": body["model"], "choices": [{"index": 0, "logprobs": {"content": content}}]}
        )

    def test_letters_by_their_tokens_which_the_chat_itself_tells(self) -> None:
        with Server(self.serve).running() as server:
            choice, identity = choose(server, "vllm")
            assert choice.log_probs["A.B"] - choice.log_probs["A.C"] == pytest.approx(1)
            assert choice.mass == pytest.approx(sum(math.exp(-n) for n in (1, 2, 3)))
            assert (identity.backend, identity.logprob_mode, identity.base_digest) == (
                "vllm",
                "raw",
                "",
            )
            assert server.asked[-1][2]["logprob_token_ids"] == [65, 66, 67]
            assert {path for _, path, _ in server.asked} == {"/v1/models", "/v1/chat/completions"}

    def test_a_tokenizer_that_joins_letters_is_not_trusted(self) -> None:
        def joined(method: str, path: str, body: Any) -> Reply:
            if body and "logprob_token_ids" not in body:
                text = "".join(message["content"] for message in body["messages"])
                return as_json(
                    {"prompt_token_ids": [hash(text[i : i + 2]) for i in range(0, 26, 2)]}
                )
            return self.serve(method, path, body)

        with Server(joined).running() as server:
            assert fails(server, "vllm") == "rubbish"

    def test_an_adapter_on_another_base(self) -> None:
        with Server(self.serve).running() as server:
            assert fails(server, "vllm", model="Meta-Llama-3-8B-Instruct") == "wrong_model"
            assert fails(server, "vllm", adapter="mapper-8") == "wrong_model"
            assert choose(server, "vllm", adapter="")[1].adapter == ""


class TestTgi:
    @staticmethod
    def serve(method: str, path: str, body: Any) -> Reply:
        if path == "/info":
            return as_json({"model_id": MODEL, "model_sha": None, "version": "3.3.7"})
        if path == "/chat_tokenize":
            text = "<|begin_of_text|>" + "".join(
                f"<{message['role']}>{message['content']}</>" for message in body["messages"]
            )
            return as_json({"tokenize_response": [], "templated_text": text + "<assistant>"})
        top = [
            {"id": 49, "text": "A", "logprob": -0.5, "special": False},
            {"id": 50, "text": "B", "logprob": -1.0, "special": False},
            {"id": 60, "text": "L", "logprob": None, "special": False},
        ]
        details = {
            "finish_reason": "length",
            "generated_tokens": 1,
            "seed": None,
            "prefill": [],
            "tokens": top[:1],
            "top_tokens": [top],
        }
        return as_json({"generated_text": "A", "details": details})

    def test_letters_through_a_grammar(self) -> None:
        with Server(self.serve).running() as server:
            choice, identity = choose(server, "tgi")
            assert identity.logprob_mode == "masked"
            assert choice.mass == 1.0
            assert choice.log_probs["A.B"] - choice.log_probs["A.C"] == pytest.approx(0.5)
            assert choice.log_probs["B.D"] < -20
            body = server.asked[-1][2]
            assert body["inputs"].startswith(f"<system>{SYSTEM}</><user>Label: TOXIC_INSULT\n")
            assert body["inputs"].endswith("C b d: third</><assistant>")
            assert body["parameters"]["grammar"] == {"type": "regex", "value": "[A-C]"}
            assert body["parameters"]["adapter_id"] == ADAPTER
            assert not {"temperature", "top_p", "top_k"} & set(body["parameters"])

    def test_another_model(self) -> None:
        with Server(self.serve).running() as server:
            assert fails(server, "tgi", model="other") == "wrong_model"


class TestLlamaCpp:
    @staticmethod
    def serve(method: str, path: str, body: Any) -> Reply:
        if path == "/v1/models":
            return as_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        if path == "/lora-adapters":
            return as_json(
                [
                    {"id": 0, "path": "/adapters/other.gguf", "scale": 0.0},
                    {"id": 1, "path": f"/adapters/{ADAPTER}.gguf", "scale": 0.0},
                ]
            )
        if path == "/apply-template":
            text = "".join(f"<{one['role']}>{one['content']}</>" for one in body["messages"])
            return as_json({"prompt": text + "<assistant>"})
        top = [
            {"id": 49, "token": "A", "bytes": [65], "logprob": -0.3},
            {"id": 51, "token": "C", "bytes": [67], "logprob": -2.0},
            {"id": 9, "token": " The", "bytes": [32], "logprob": -6.0},
        ]
        probabilities = [{"id": 49, "token": "A", "logprob": -0.3, "top_logprobs": top}]
        return as_json({"content": "A", "completion_probabilities": probabilities})

    def test_letters_out_of_the_most_probable_tokens(self) -> None:
        with Server(self.serve).running() as server:
            choice, identity = choose(server, "llamacpp")
            assert identity.logprob_mode == "raw"
            assert choice.log_probs["A.B"] - choice.log_probs["B.D"] == pytest.approx(1.7)
            # B is not among them: it counts with the least of them.
            assert choice.log_probs["A.B"] - choice.log_probs["A.C"] == pytest.approx(5.7)
            body = server.asked[-1][2]
            assert body["lora"] == [{"id": 1, "scale": 1.0}]
            assert body["cache_prompt"] is False
            assert body["prompt"].endswith("C b d: third</><assistant>")

    def test_another_model_or_adapter(self) -> None:
        with Server(self.serve).running() as server:
            assert fails(server, "llamacpp", model="other") == "wrong_model"
            assert fails(server, "llamacpp", adapter="mapper-8") == "wrong_model"


class TestGenerated:
    """Without token scores."""

    @staticmethod
    def serve_with(*contents: str) -> Server:
        left = list(contents)

        def serve(method: str, path: str, body: Any) -> Reply:
            if path == "/v1/models":
                return as_json({"data": [{"id": ADAPTER}]})
            message = {"role": "assistant", "content": left.pop(0)}
            return as_json({"choices": [{"index": 0, "message": message}]})

        return Server(serve)

    def test_the_named_option_gets_nearly_everything(self) -> None:
        with self.serve_with('{"option": "A.C"}').running() as server:
            choice, identity = choose(server, "vllm", reading="json")
            assert identity.logprob_mode == "generated"
            assert choice.log_probs["A.C"] > -1e-5
            assert sum(map(math.exp, choice.log_probs.values())) == pytest.approx(1)
            body = server.asked[-1][2]
            assert (body["temperature"], body["top_p"]) == (0.0, 0.9)
            schema = body["response_format"]["json_schema"]["schema"]
            assert schema["properties"]["option"]["enum"] == ["A.B", "A.C", "B.D"]
            assert "\nA.B = a b: first\nA.C = a c: second\n" in body["messages"][1]["content"]

    @pytest.mark.parametrize(
        "bad", ["", "A", '{"option": "Z"}', '{"option": "A.B", "why": 1}', '["A.B"]', "{"]
    )
    def test_an_unfit_answer_is_asked_for_once_more(self, bad: str) -> None:
        with self.serve_with(bad, '{"option": "B.D"}').running() as server:
            choice, _ = choose(server, "vllm", reading="json")
            assert max(choice.log_probs, key=choice.log_probs.__getitem__) == "B.D"
            assert [body["temperature"] for _, _, body in server.asked if body] == [0.0, 0.2]
        with self.serve_with(bad, bad).running() as server:
            assert fails(server, "vllm", reading="json") == "rubbish"
            assert len(server.asked) == 3


KEYS = (
    *("data", "id", "parent", "root", "model", "model_id", "choices", "logprobs", "content"),
    *("top_logprobs", "token", "logprob", "prompt_token_ids", "details", "top_tokens", "text"),
    *("templated_text", "message", "prompt", "completion_probabilities", "letter_token_ids"),
    *("fingerprint", "path"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def fuzzed() -> Any:
    with Server(lambda *_: as_json({})).running() as server:
        yield server


@pytest.mark.parametrize("backend", ["embedded", "vllm", "tgi", "llamacpp", "json"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_json_gets_past_as_anything_but_a_refusal(
    backend: str, fuzzed: Server, data: st.DataObject
) -> None:
    """Good answers up to some point, where anything at all comes instead of one."""
    good: dict[str, Any] = {
        "vllm": TestVllm.serve,
        "tgi": TestTgi.serve,
        "llamacpp": TestLlamaCpp.serve,
    }
    bad_from = data.draw(st.integers(0, 3))
    rubbish = data.draw(JSON)
    count = 0

    def serve(method: str, path: str, body: Any) -> Reply:
        nonlocal count
        count += 1
        if count > bad_from or backend not in good:
            return 200, "application/json", json.dumps(rubbish).encode()
        return good[backend](method, path, body)

    fuzzed.respond = serve
    changed = {"reading": "json"} if backend == "json" else {}
    try:
        choice, _ = choose(fuzzed, "vllm" if backend == "json" else backend, **changed)
    except InferenceError:
        return
    assert set(choice.log_probs) == {"A.B", "A.C", "B.D"}
    assert 0 <= choice.mass <= 1


@given(
    values=st.lists(st.floats(-1e6, 0) | st.just(-math.inf), min_size=1, max_size=len(LETTERS)),
    masked=st.booleans(),
)
def test_log_probabilities_are_renormalised(values: list[float], masked: bool) -> None:
    letters = LETTERS[: len(values)]
    choice = choice_of(
        dict(zip(letters, values, strict=True)), letters, list(letters), masked=masked
    )
    assert sum(map(math.exp, choice.log_probs.values())) == pytest.approx(1)
    assert 0 <= choice.mass <= 1
    assert min(choice.log_probs.values()) >= FLOOR - math.log(len(LETTERS)) - 1e-9
    if masked:
        assert choice.mass == 1

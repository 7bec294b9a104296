"""The real worker with the real base model: what it answers, refuses, survives and keeps silent."""

import json
import math
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local.inference import adapter_dir
from deploy.local.state import REPOSITORY
from mapping.inference import HttpChooser, InferenceOptions
from mapping.inference.failures import InferenceError
from mapping.resolver.prompt import SYSTEM, build_prompt, options_for
from mapping.resolver.types import Choice, ChooserError, LabelQuestion, Option
from tests.worker.running import KEY, RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.weights import Base, adapter_in, packaged_base, sha256_of

pytestmark = pytest.mark.stack

NAME = "SmolLM2-135M-Instruct"
WORDS = ("harassment", "threat", "password", "email", "address", "weapon", "jailbreak")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
QUESTIONS = st.builds(LabelQuestion, st.just("acme"), TEXTS, TEXTS | st.just(""), st.just(""))
OPTIONS = st.lists(
    st.builds(Option, st.text("ABCDEFGH.", min_size=3, max_size=8), TEXTS),
    min_size=2,
    max_size=8,
    unique_by=lambda option: option.name,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def worker(cache: Path) -> Iterator[RunningWorker]:
    running = RunningWorker("--cache-dir", str(cache), "--places", "8")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def base(cache: Path, worker: RunningWorker) -> Base:
    return packaged_base(cache)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with random weights, as PEFT writes it."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("adapters") / "mapper-test"
    folder.mkdir()
    torch.manual_seed(7)
    weights = {}
    for layer in range(30):
        place = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{place}.lora_A.weight"] = torch.randn(8, 576) * 0.05
        weights[f"{place}.lora_B.weight"] = torch.randn(576, 8) * 0.05
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": NAME,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def chooser_of(worker: RunningWorker, **changed: Any) -> HttpChooser:
    values: dict[str, Any] = {
        "backend": "embedded",
        "url": worker.url,
        "model": NAME,
        "api_key": KEY,
        "timeout_seconds": 20.0,
        "breaker_failures": 2,
        "breaker_seconds": 0.5,
        "salt_key": b"k",
        **changed,
    }
    return HttpChooser(InferenceOptions(**values))


def ask(chooser: HttpChooser, question: LabelQuestion, options: list[Option]) -> Choice:
    [choice] = chooser.choose([(question, options)], salt="acme")
    return choice


QUESTION = LabelQuestion("acme", "EMAIL_ADDRESS", "an e-mail address", "pii")
CHOICES = [
    Option("PII.Contact.Email", "contact email: an e-mail address of a person"),
    Option("HARM.VIOLENCE.Weapon", "violence weapon: how to build a weapon"),
    Option("none_of_these", "none of these"),
]


def chat(**changed: Any) -> dict[str, Any]:
    prompt = build_prompt(QUESTION, CHOICES)
    return {
        "model": NAME,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": prompt.user},
        ],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "logprob_token_ids": [49, 50, 51],
        **changed,
    }


def test_an_answer_with_its_identity(worker: RunningWorker, base: Base) -> None:
    chooser = chooser_of(worker, model_digest=base.sha256)
    choice = ask(chooser, QUESTION, CHOICES)
    assert sum(map(math.exp, choice.log_probs.values())) == pytest.approx(1)
    assert 0 < choice.mass <= 1
    identity = chooser.identity
    assert identity is not None
    assert (identity.base, identity.base_digest, identity.adapter) == (NAME, base.sha256, "")
    with pytest.raises(ChooserError, match="another model"):
        ask(chooser_of(worker, model_digest="0" * 64), QUESTION, CHOICES)
    with pytest.raises(ChooserError, match="another model"):
        ask(chooser_of(worker, adapter="mapper-7"), QUESTION, CHOICES)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(question=QUESTIONS, options=OPTIONS, seed=st.integers(0, 1000))
def test_the_order_of_options_changes_nothing(
    question: LabelQuestion, options: list[Option], seed: int, worker: RunningWorker
) -> None:
    chooser = chooser_of(worker)
    shuffled = random.Random(seed).sample(options, len(options))
    assert ask(chooser, question, options) == ask(chooser, question, shuffled)
    chooser.close()


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.lists(st.tuples(QUESTIONS, OPTIONS), min_size=2, max_size=5))
def test_the_company_of_a_question_changes_nothing(
    asked: list[tuple[LabelQuestion, list[Option]]], worker: RunningWorker
) -> None:
    chooser = chooser_of(worker)
    alone = [ask(chooser, *one) for one in asked]
    assert chooser.choose(asked, salt="acme") == alone
    with ThreadPoolExecutor(len(asked)) as pool:
        assert list(pool.map(lambda one: ask(chooser, *one), asked)) == alone
    chooser.close()


class TestNumbers:
    """In this process: the model that the worker loads, against transformers as it is."""

    @pytest.fixture(autouse=True)
    def one_thread(self) -> Iterator[None]:
        """Threads that spin while they wait for each other starve on a busy machine."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    def test_float32_is_what_transformers_says(self, base: Base, adapter: Path) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from mapping.worker.model import LetterModel

        ours = LetterModel(base, adapter_in(adapter), "fp32")
        tokenizer = AutoTokenizer.from_pretrained(base.folder)
        plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
        adapted = PeftModel.from_pretrained(plain, str(adapter)).eval()
        messages = chat()["messages"]
        tokens = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        assert ours.tokens_of(messages) == tokens, "the template that the model was trained with"
        wanted = list(ours.letter_tokens.values())
        with torch.inference_mode():
            logits = adapted(torch.tensor([tokens])).logits[0, -1]
        expected = torch.log_softmax(logits, -1)[wanted].tolist()
        top, found = ours.log_probs(tokens, wanted)
        assert top == int(logits.argmax())
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 2e-3

    def test_bfloat16_stays_near_and_repeats_its_bits(self, base: Base) -> None:
        from mapping.worker.model import LetterModel

        exact, fast = LetterModel(base, None, "fp32"), LetterModel(base, None, "bf16")
        assert exact.fingerprint != fast.fingerprint
        wanted = list(exact.letter_tokens.values())[:3]
        differences = []
        for label in WORDS[:5]:
            prompt = build_prompt(QUESTION._replace(label=label), CHOICES)
            messages = [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ]
            tokens = exact.tokens_of(messages)
            first, second = exact.log_probs(tokens, wanted)[1], fast.log_probs(tokens, wanted)[1]
            assert fast.log_probs(tokens, wanted)[1] == second
            differences += [abs(a - b) for a, b in zip(first, second, strict=True)]
        assert sum(differences) / len(differences) < 0.15
        assert max(differences) < 0.5


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "another model": ({"model": "gpt"}, 404, "not served"),
    "more tokens": ({"max_tokens": 5}, 400, "max_tokens"),
    "heat": ({"temperature": 0.7}, 400, "temperature"),
    "an unknown field": ({"stream": True}, 400, "stream"),
    "a tool": ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
    "no message": ({"messages": []}, 400, "messages"),
    "no such token": ({"logprob_token_ids": [99_999_999]}, 400, "no such token"),
    "a long prompt": (
        {"messages": [{"role": "user", "content": "word " * 3_900}]},
        400,
        "more than 2048 tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_know_it_refuses(name: str, worker: RunningWorker) -> None:
    changed, status, said = REFUSED[name]
    answered, body = worker.ask("POST", "/v1/chat/completions", chat(**changed))
    assert answered == status
    assert said in body["error"]["message"]


def test_other_addresses_and_bodies(worker: RunningWorker) -> None:
    path = "/v1/chat/completions"
    assert worker.ask("POST", path, chat())[0] == 200
    assert worker.ask("GET", path)[0] == 405
    assert worker.ask("GET", "/v1/completions")[0] == 404
    assert worker.ask("POST", path, chat(), key="wrong")[0] == 401
    assert worker.ask("GET", "/v1/models", key="")[0] == 401
    assert worker.ask("GET", "/health", key="")[0] == 200
    for body in (b"", b"{", b"[]", b"\xff\xfe", b'{"model": NaN}'):
        assert worker.ask("POST", path, body)[0] == 400
    assert worker.ask("POST", path, b" " * 300_000)[0] == 413
    assert "pillars_worker_forward_seconds_count" in worker.ask("GET", "/metrics")[1]
    assert worker.answers()


def test_what_nobody_waits_for_is_not_read(worker: RunningWorker) -> None:
    def read() -> float:
        lines = worker.ask("GET", "/metrics")[1].splitlines()
        return float(
            next(x for x in lines if x.startswith("pillars_worker_forward_seconds_count")).split()[
                1
            ]
        )

    before = read()
    with ThreadPoolExecutor(5) as pool:
        answers = list(
            pool.map(
                lambda _: worker.ask(
                    "POST", "/v1/chat/completions", chat(), **{"X-Budget-Ms": "1"}
                )[0],
                range(5),
            )
        )
    assert answers == [503] * 5
    time.sleep(0.5)
    assert read() - before <= 1, "at most the one that was begun in time"


def test_a_full_line_is_refused_at_once_and_health_still_answers(worker: RunningWorker) -> None:
    with ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(worker.ask, "POST", "/v1/chat/completions", chat()) for _ in range(24)]
        assert worker.answers()
        statuses = [one.result()[0] for one in asked]
    assert set(statuses) == {200, 503}
    assert worker.ask("POST", "/v1/chat/completions", chat())[0] == 200


def test_it_says_nothing_of_a_prompt(worker: RunningWorker) -> None:
    canary = "canary-6f1c22"
    asked = chat(messages=[{"role": "user", "content": canary}])
    assert worker.ask("POST", "/v1/chat/completions", asked)[0] == 200
    for broken in (
        {**asked, canary: 1},
        {**asked, "temperature": canary},
        {**asked, "model": canary},
    ):
        status, body = worker.ask("POST", "/v1/chat/completions", broken)
        assert status in (400, 404)
        assert f": {canary}" not in json.dumps(body)
    assert worker.ask("GET", f"/{canary}?q={canary}")[0] == 404
    assert canary not in worker.log.read_text()
    assert canary not in worker.ask("GET", "/metrics")[1]


def test_an_adapter_is_merged_named_and_told_by_its_digest(
    base: Base, adapter: Path, worker: RunningWorker
) -> None:
    digest = sha256_of(adapter / "adapter_model.safetensors")
    other = RunningWorker("--model-dir", str(base.folder), "--adapter", str(adapter)).start()
    try:
        chooser = chooser_of(other, adapter="mapper-test", adapter_digest=digest)
        adapted = ask(chooser, QUESTION, CHOICES)
        assert adapted.log_probs != ask(chooser_of(worker), QUESTION, CHOICES).log_probs
        identity = chooser.identity
        assert identity is not None
        assert (identity.adapter, identity.adapter_digest) == ("mapper-test", digest)
        assert other.ask("POST", "/v1/chat/completions", chat())[0] == 404, "the base alone is gone"
    finally:
        assert other.stop() == 0


@pytest.mark.skipif(adapter_dir({}) is None, reason="no adapter comes with this tree")
def test_the_shipped_adapter_knows_what_names_say(base: Base) -> None:
    shipped = adapter_dir({})
    assert shipped is not None
    other = RunningWorker("--model-dir", str(base.folder), "--adapter", str(shipped)).start()
    try:
        chooser = chooser_of(other, adapter=shipped.name)
        file = REPOSITORY / "pillars-detectors" / "taxonomy" / "2026.11.yaml"
        taxonomy = yaml.safe_load(file.read_text("utf-8"))
        names = ["PII.Contact.Email", "PII.Identifier.SSN", "HARM.SPEECH.Harassment"]
        for label, expected in (("EMAIL_ADDRESS", names[0]), ("US_SSN", names[1])):
            options = options_for(names, taxonomy)
            choice = ask(chooser, LabelQuestion("acme", label), options)
            assert max(choice.log_probs, key=choice.log_probs.__getitem__) == expected
            assert choice.mass > 0.9, "it answers with a letter"
    finally:
        other.stop()


def test_killed_stopped_and_exchanged(base: Base, worker: RunningWorker, adapter: Path) -> None:
    """What happens to a chooser with the shipped budget when its worker does not keep up."""
    mine = RunningWorker("--model-dir", str(base.folder)).start()
    chooser = chooser_of(mine, timeout_seconds=0.5)
    try:

        def outcome() -> str:
            started = time.monotonic()
            try:
                ask(chooser, QUESTION, CHOICES[:2])
            except InferenceError as error:
                assert time.monotonic() - started < 2.5  # a stopped worker would take for ever
                return error.outcome
            return "ok"

        def recovers() -> bool:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                if outcome() == "ok":
                    return chooser.breaker_state == "closed"
                time.sleep(0.1)
            return False

        assert recovers()
        mine.signal(signal.SIGSTOP)
        assert [outcome(), outcome(), outcome()] == ["timeout", "timeout", "open"]
        mine.signal(signal.SIGCONT)
        assert recovers()
        mine.signal(signal.SIGKILL)
        mine.stop()
        assert outcome() == "unreachable"
        assert outcome() in ("unreachable", "open")
        mine.words = ("--model-dir", str(base.folder), "--adapter", str(adapter))
        mine.start()
        time.sleep(0.6)
        assert outcome() == "wrong_model"
        mine.stop()
        mine.words = ("--model-dir", str(base.folder))
        mine.start()
        assert recovers()
    finally:
        mine.stop()


def test_without_a_model_it_says_why_and_will_not_be_tried_again(tmp_path: Path) -> None:
    for words, said in (
        (("--model-dir", str(tmp_path)), "holds no model"),
        (("--model-dir", str(tmp_path / "gone")), "holds no model"),
    ):
        worker = RunningWorker(*words)
        with pytest.raises(AssertionError, match=said):
            worker.start()
        assert worker.stop() == 3
        assert "Traceback" not in worker.log.read_text()

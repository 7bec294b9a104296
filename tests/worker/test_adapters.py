"""Several adapters in one worker: loaded and taken away while others are asked, or refused."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mapping.resolver.prompt import SYSTEM
from tests.worker.running import RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.adapters import fitting_adapter
from mapping.worker.model import LetterModel
from mapping.worker.shelf import Shelf, ShelfError
from mapping.worker.weights import Base, WeightsError, base_in, sha256_of
from tests.support.small_llama import write_adapter, write_base

MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "A one\nB two"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return base_in(write_base(tmp_path_factory.mktemp("bases") / "tiny"))


@pytest.fixture(scope="module")
def made(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sound adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("mapper-1", "mapper-2"), 1):
        write_adapter(folder / name, base.folder, seed=seed)
    return folder


@pytest.fixture
def adapters(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "adapters"))


def chat(model: str, tokens: list[int]) -> dict[str, Any]:
    return {
        "model": model, "messages": MESSAGES, "max_tokens": 1, "temperature": 0, "logprobs": True,
        "logprob_token_ids": tokens, "return_token_ids": True,
    }  # fmt: skip


def answer(worker: RunningWorker, model: str, tokens: list[int]) -> list[float]:
    status, body = worker.ask("POST", "/v1/chat/completions", chat(model, tokens))
    assert status == 200, body
    assert body["model"] == model
    return [one["logprob"] for one in body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]]


def load(worker: RunningWorker, name: str, path: str) -> tuple[int, Any]:
    body = {"lora_name": name, "lora_path": path}
    return worker.ask("POST", "/v1/load_lora_adapter", body)


@pytest.mark.stack
class TestRunning:
    @pytest.fixture
    def worker(self, base: Base, adapters: Path) -> Iterator[RunningWorker]:
        running = RunningWorker(
            *("--model-dir", str(base.folder), "--adapter", str(adapters / "mapper-1")),
            *("--adapters", str(adapters), "--precision", "fp32", "--threads", "1"),
        )
        try:
            yield running.start()
        finally:
            running.stop()

    def test_each_gives_the_numbers_that_it_gives_alone(
        self, worker: RunningWorker, base: Base, adapters: Path
    ) -> None:
        assert load(worker, "mapper-2", str(adapters / "mapper-2"))[0] == 200
        cards = worker.ask("GET", "/v1/models")[1]["data"]
        assert [card["id"] for card in cards] == ["mapper-1", "mapper-2"]
        assert len({card["fingerprint"] for card in cards}) == 2
        assert {card["parent"] for card in cards} == {base.name}
        for card in cards:
            folder = adapters / card["id"]
            assert card["adapter_sha256"] == sha256_of(folder / "adapter_model.safetensors")
            alone = LetterModel(base, fitting_adapter(folder, base), "fp32")
            wanted = list(alone.letter_tokens.values())[:2]
            found = answer(worker, card["id"], wanted)
            assert found == alone.log_probs(alone.tokens_of(MESSAGES), wanted)[1]

    def test_loaded_and_taken_away_while_the_other_is_asked(
        self, worker: RunningWorker, adapters: Path
    ) -> None:
        expected = answer(worker, "mapper-1", [40, 41])
        stop = threading.Event()

        def ask_on() -> int:
            count = 0
            while not stop.is_set():
                assert answer(worker, "mapper-1", [40, 41]) == expected
                count += 1
            return count

        with ThreadPoolExecutor(2) as pool:
            asking = [pool.submit(ask_on) for _ in range(2)]
            for _ in range(2):
                assert load(worker, "mapper-2", "mapper-2")[0] == 200
                assert answer(worker, "mapper-2", [40, 41]) != expected
                gone = worker.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "mapper-2"})
                assert gone[0] == 200
                assert worker.ask("POST", "/v1/chat/completions", chat("mapper-2", [40]))[0] == 404
            stop.set()
            assert sum(one.result() for one in asking) > 10

    def test_what_does_not_fit_is_refused_and_the_others_go_on(
        self, worker: RunningWorker, adapters: Path, tmp_path: Path
    ) -> None:
        spoiled = adapters / "mapper-2" / "adapter_model.safetensors"
        spoiled.write_bytes(spoiled.read_bytes()[:-100])
        outside = shutil.copytree(adapters / "mapper-1", tmp_path / "outside")
        (adapters / "link").symlink_to(outside)
        for name, path, said in (
            ("mapper-2", "mapper-2", "damaged"),
            ("mapper-1", "mapper-1", "already been loaded"),
            ("mapper-9", "nothing", "no such folder"),
            ("mapper-9", "../outside", "inside the folder"),
            ("mapper-9", str(outside), "inside the folder"),
            ("mapper-9", "link", "inside the folder"),
            ("mapper-9", ".", "inside the folder"),
            ("mapper-9", "a\0b", "inside the folder"),
            ("../x", "mapper-1", "letters, digits"),
        ):
            status, body = load(worker, name, path)
            assert (status, said in body["error"]["message"]) == (400, True), (name, path, body)
        assert worker.ask("POST", "/v1/load_lora_adapter", {"lora_name": "x"})[0] == 400
        assert worker.ask("POST", "/v1/load_lora_adapter", {}, key="wrong")[0] == 401
        gone = worker.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "mapper-9"})
        assert gone[0] == 404
        assert len(answer(worker, "mapper-1", [40, 41])) == 2

    def test_started_anew_it_serves_what_it_served(
        self, worker: RunningWorker, adapters: Path
    ) -> None:
        assert load(worker, "mapper-2", "mapper-2")[0] == 200
        worker.stop()
        worker.start()
        deadline = time.monotonic() + 30
        while len(worker.ask("GET", "/v1/models")[1]["data"]) < 2:
            assert time.monotonic() < deadline, worker.log.read_text()
            time.sleep(0.1)
        assert len(answer(worker, "mapper-2", [40, 41])) == 2


Spoil = Callable[[Path], None]


def config(**changed: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return spoil


def weights(change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        found = load_file(path)
        change(found)
        save_file(found, path)

    return spoil


def manifest(base: str) -> Spoil:
    def spoil(folder: Path) -> None:
        digest = sha256_of(folder / "adapter_model.safetensors")
        files = {"adapter_model.safetensors": {"sha256": digest if base else "0" * 64}}
        (folder / "manifest.json").write_text(
            json.dumps({"files": files, "base": {"sha256": base}})
        )

    return spoil


UNFIT: dict[str, tuple[Spoil, str]] = {
    "another rank": (config(r=8), "does not fit"),
    "no rank": (config(r="x"), "describes no LoRA"),
    "a huge rank": (config(r=4096), "up to 512"),
    "another method": (config(peft_type="IA3"), "describes no LoRA"),
    "several ranks": (config(rank_pattern={"q_proj": 2}), "Only adapters of one rank"),
    "no JSON": (lambda f: (f / "adapter_config.json").write_text("{") and None, "cannot be read"),
    "not a number": (weights(lambda w: next(iter(w.values())).fill_(float("nan"))), "damaged"),
    "huge numbers": (weights(lambda w: next(iter(w.values())).fill_(1e30)), "damaged"),
    "no weights": (weights(lambda w: w.clear()), "empty"),
    "half a layer": (weights(lambda w: w.__delitem__(next(iter(w)))), "does not fit"),
    "another layer": (
        weights(lambda w: w.update({k.replace("q_proj", "x_proj"): w.pop(k) for k in [*w]})),
        "for another model",
    ),
    "a whole layer": (
        weights(lambda w: w.update({"base_model.model.lm_head.weight": w[next(iter(w))].clone()})),
        "no LoRA of a linear layer",
    ),
    "another file": (manifest(""), "is damaged"),
    "another base": (manifest("0" * 64), "another base model"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_adapter_is_known_before_it_is_merged(
    what: str, base: Base, adapters: Path
) -> None:
    spoil, said = UNFIT[what]
    spoil(adapters / "mapper-1")
    with pytest.raises(WeightsError, match=said):
        fitting_adapter(adapters / "mapper-1", base)
    assert fitting_adapter(adapters / "mapper-2", base).name == "mapper-2"


def test_without_the_memory_nothing_is_loaded(base: Base, adapters: Path) -> None:
    def full(_base: Base) -> None:
        raise WeightsError("There is not enough memory for it.")

    shelf = Shelf(base, None, precision="fp32", folder=adapters, check=full)
    with pytest.raises(ShelfError, match="not enough memory"):
        shelf.load("mapper-1", "mapper-1")
    assert [one.name for one in shelf.models()] == [base.name]


def test_taking_away_waits_for_who_asks(base: Base, adapters: Path) -> None:
    shelf = Shelf(base, None, precision="fp32", folder=adapters)
    shelf.load("mapper-1", "mapper-1")
    with ThreadPoolExecutor(1) as pool:
        with shelf.using("mapper-1") as model:
            gone = pool.submit(shelf.unload, "mapper-1")
            with pytest.raises(TimeoutError):
                gone.result(0.3)
            assert model.name == "mapper-1"
        gone.result(5)

"""The benchmark of the model's server, against a small server that answers as vLLM does."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

from mapping.inference import HttpChooser, InferenceOptions
from tests.bench import questions, steady, vllm
from tests.bench.questions import PLACE
from tests.inference import test_protocols as protocols
from tests.inference.servers import ADAPTER, MODEL, Reply, Server, as_json

ASKED = [
    questions.Asked(protocols.QUESTION._replace(label=f"{PLACE} {label}"), tuple(protocols.OPTIONS))
    for label in ("TOXIC_INSULT", "TOXIC_THREAT", "SAFE")
]
FIGURES = {"p50_ms", "p95_ms", "mean_ms", "requests_per_second"}


def measure(server: Server, connections: int) -> dict[str, Any]:
    target = vllm.Server(server.url, "vllm", MODEL, ADAPTER)
    return vllm.measure(target, ASKED, [vllm.Case(connections, 0.4, 0.1)])


def reads(server: Server) -> list[dict[str, Any]]:
    """What was asked, but for what the client learns before."""
    return [body for _, _, body in server.asked if body and "logprob_token_ids" in body]


def test_both_ways_send_the_same_and_no_question_is_asked_twice() -> None:
    with Server(protocols.TestVllm.serve).running() as server:
        report = measure(server, 3)
    [row] = report["rows"]
    for way in ("raw", "client"):
        assert row[way]["failures"] == {}
        assert row[way]["requests"] > 0
        assert 0 < row[way]["p50_ms"] <= row[way]["p95_ms"]
        assert row[way]["cpu_ms_a_request"] > 0
    assert all(row["overhead_percent"][name] is not None for name in FIGURES)
    bodies = [body for body in reads(server) if PLACE not in body["messages"][1]["content"]]
    users = [body["messages"][1]["content"] for body in bodies]
    assert len(users) == len(set(users)) >= row["raw"]["requests"] + row["client"]["requests"]
    salts = {body.pop("cache_salt") for body in bodies}
    assert len(salts) == 2
    assert len({len(salt) for salt in salts}) == 1
    shapes = {re.sub(rf"\d{{{len(PLACE)}}}", PLACE, json.dumps(body)) for body in bodies}
    assert len(shapes) == len(ASKED)
    assert "| 3 | client |" in "\n".join(vllm.table(report))


def test_every_turn_of_a_process_asks_the_same_questions_in_the_same_order() -> None:
    with Server(protocols.TestVllm.serve).running() as server:
        measure(server, 1)
    users = [body["messages"][1]["content"] for body in reads(server)]
    asked = [match for user in users if (match := re.match(r"Label: (\d+) (\w+)\n", user))]
    labels = {int(match[1]): match[2] for match in asked}
    begun = [labels[number] for number in sorted(labels) if number - 1 not in labels]
    assert len(begun) == 8  # raw, client, client, raw: to warm up, and to be measured
    assert len(set(begun[:4])) == len(set(begun[4:])) == 1


def test_the_steady_server_takes_its_time_and_answers_the_client() -> None:
    seconds = 0.05

    async def ask() -> float:
        server = await steady.start(0, seconds)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        options = InferenceOptions("vllm", url, MODEL, ADAPTER, timeout_seconds=5)
        chooser = HttpChooser(options)
        questions = [(protocols.QUESTION, protocols.OPTIONS)]
        async with server:
            await asyncio.to_thread(chooser.check)
            started = time.monotonic()
            [choice] = await asyncio.to_thread(chooser.choose, questions, salt="acme")
            took = time.monotonic() - started
        assert len(choice.log_probs) == len(protocols.OPTIONS)
        chooser.close()
        return took

    assert seconds <= asyncio.run(ask()) < 5


def test_requests_that_fail_are_counted_and_not_timed() -> None:
    def broken(method: str, path: str, body: Any) -> Reply:
        if body and "logprob_token_ids" in body:
            return as_json({}, 503)
        return protocols.TestVllm.serve(method, path, body)

    with Server(broken).running() as server:
        [row] = measure(server, 2)["rows"]
    assert row["raw"]["failures"].keys() == {"503"}
    assert row["client"]["failures"].keys() == {"failed", "open"}
    assert row["raw"]["requests"] == row["client"]["requests"] == 0
    assert set(row["overhead_percent"].values()) == {None}


def test_questions_are_of_the_shipped_files(tmp_path: Path) -> None:
    asked = questions.make(120)
    questions.write(tmp_path / "questions.json", asked)
    assert questions.read(tmp_path / "questions.json") == asked
    assert len(asked) == 120
    assert len({one.question.detector for one in asked}) > 40
    assert all(one.question.label.startswith(PLACE) for one in asked)
    assert all(2 <= len(one.options) <= 16 for one in asked)

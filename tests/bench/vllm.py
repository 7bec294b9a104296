"""What our client adds to a model's server: `python -m tests.bench.vllm --url ... --model ...`.

The server must run. One-token reads are asked of it in two ways, in turn: through the inference
client as the resolver calls it, and raw, by the same HTTP library with the very bytes that the
client would send, whose answer is received and not looked at. Every request has a question of its
own, so that a server's prefix cache holds what all prompts share and no more. Method and results:
docs/performance.md.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import httpx2 as httpx
import orjson

from mapping.inference import HttpChooser, InferenceOptions
from mapping.inference.backends import backend_for
from mapping.inference.failures import InferenceError
from mapping.inference.options import BackendName
from mapping.inference.transport import Transport
from mapping.resolver.prompt import build_prompt
from tests.bench import questions
from tests.bench.questions import PLACE, Asked

_T = TypeVar("_T", bound=Transport)
Way: TypeAlias = Literal["client", "raw"]
Ask: TypeAlias = Callable[[int], str]  # number of a request -> how it went; "ok" if well

_TURNS: Final[Sequence[Way]] = ("raw", "client", "client", "raw")
_MOST_PER_PROCESS: Final = 32  # connections; a web process has far fewer
_TIMEOUT_SECONDS: Final = 30.0  # a late answer is to be seen, not to be given up
_NUMBERS: Final = 1_000_000  # of requests that a process can make
_SALT: Final = "0" * 32  # as long as the digest that the client sends


@dataclass(frozen=True)
class Server:
    """What is asked, and as what."""

    url: str
    backend: BackendName
    model: str
    adapter: str

    def options(self, connections: int) -> InferenceOptions:
        """The client's options: a production client's, but for time and places."""
        return InferenceOptions(
            backend=self.backend,
            url=self.url,
            model=self.model,
            adapter=self.adapter,
            timeout_seconds=_TIMEOUT_SECONDS,
            max_in_flight=connections,
            salt_key=b"bench",
        )


class Case(NamedTuple):
    """One number of connections."""

    connections: int
    seconds: float  # of each way, in two turns
    ramp_seconds: float = 1.0  # before a turn is measured


@dataclass
class Outcome:
    """What came back. Latencies in seconds; `failures`: how a request went -> how often."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0  # of the asking processes

    def add(self, other: "Outcome", *, at_the_same_time: bool) -> None:
        """Sum up processes, or turns."""
        seconds = (self.seconds, other.seconds)
        self.seconds = max(seconds) if at_the_same_time else sum(seconds)
        self.latencies += other.latencies
        self.cpu_seconds += other.cpu_seconds
        for name, count in other.failures.items():
            self.failures[name] = self.failures.get(name, 0) + count

    def summary(self) -> dict[str, Any]:
        """Figures; milliseconds but for the rate."""
        done = sorted(self.latencies)
        return {
            "requests": len(done),
            "failures": self.failures,
            "requests_per_second": round(len(done) / self.seconds, 2) if self.seconds else 0.0,
            "p50_ms": _percentile(done, 0.50),
            "p95_ms": _percentile(done, 0.95),
            "mean_ms": round(1000 * sum(done) / len(done), 3) if done else None,
            "cpu_ms_a_request": round(1000 * self.cpu_seconds / len(done), 3) if done else None,
        }


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)


def measure(
    server: Server,
    asked: Sequence[Asked],
    cases: Sequence[Case],
    tell: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Ask `server` in both ways with each number of connections, after it has warmed up.

    `tell` is given every row of the report as soon as it is there.
    """
    processes = itertools.count()
    most = max(case.connections for case in cases)
    warm_up = Case(min(32, most), min(2.0, cases[0].seconds), cases[0].ramp_seconds)
    _run(server, asked, warm_up, processes)
    rows = []
    for case in cases:
        outcomes = _run(server, asked, case, processes)
        ways = {way: outcome.summary() for way, outcome in outcomes.items()}
        rows.append(
            {
                "connections": case.connections,
                "raw": ways["raw"],
                "client": ways["client"],
                "overhead_percent": _overhead(ways),
            }
        )
        tell(rows[-1])
    return {
        "server": asdict(server),
        "cpus": os.cpu_count(),
        "questions": len(asked),
        "prompt_tokens_mean": _prompt_tokens(server, asked),
        "rows": rows,
    }


def _overhead(ways: dict[Way, dict[str, Any]]) -> dict[str, float | None]:
    """What the client adds, in per cent of raw; None where one way got no answer."""

    figures = ("p50_ms", "p95_ms", "mean_ms", "requests_per_second")
    both = {name: (ways["client"][name], ways["raw"][name]) for name in figures}
    return {
        name: round(100 * (client / raw - 1), 2) if client and raw else None
        for name, (client, raw) in both.items()
    }


def _run(
    server: Server, asked: Sequence[Asked], case: Case, processes_before: "itertools.count[int]"
) -> dict[Way, Outcome]:
    """One case: its connections spread over processes that take their turns together."""
    count = -(-case.connections // _MOST_PER_PROCESS)
    shares = [len(range(n, case.connections, count)) for n in range(count)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pipes, processes = [], []
    for share in shares:
        ours, theirs = context.Pipe()
        first = next(processes_before) * _NUMBERS
        work = (server, asked, case._replace(connections=share), first, barrier, theirs)
        process = context.Process(target=_work, args=work, daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        turns: list[list[Outcome]] = [pipe.recv() for pipe in pipes]
    except EOFError:
        raise SystemExit("A process that asks has ended: its error stands above.") from None
    for process in processes:
        process.join()
    total: dict[Way, Outcome] = {"client": Outcome(), "raw": Outcome()}
    for way, *parts in zip(_TURNS, *turns, strict=True):
        turn = Outcome()
        for part in parts:
            turn.add(part, at_the_same_time=True)
        total[way].add(turn, at_the_same_time=False)
    return total


def _work(
    server: Server, asked: Sequence[Asked], case: Case, first: int, barrier: Any, pipe: Connection
) -> None:
    """A process: all turns, with a thread for each of its connections."""
    # Every turn begins with the same question: both ways ask the same ones, in the same order.
    a_turn = _NUMBERS // len(_TURNS) // len(asked) * len(asked)
    ways: dict[Way, Ask] = {
        "client": _client(server, asked, case.connections),
        "raw": _raw(server, asked, case.connections),
    }
    outcomes = []
    for turn, way in enumerate(_TURNS):
        numbers = itertools.count(first + turn * a_turn)
        barrier.wait()
        outcomes.append(_turn(ways[way], case, numbers))
    pipe.send(outcomes)


def _turn(ask: Ask, case: Case, numbers: "itertools.count[int]") -> Outcome:
    """Ask from one thread a connection; what is answered in the time after the ramp counts."""
    begin = time.perf_counter() + case.ramp_seconds
    end = begin + case.seconds / 2
    outcome = Outcome(case.seconds / 2)
    lock = threading.Lock()

    def drive() -> None:
        mine, failed = [], []
        while (before := time.perf_counter()) < end:
            how = ask(next(numbers))
            after = time.perf_counter()
            if begin <= after < end and how == "ok":
                mine.append(after - before)
            elif how != "ok":
                failed.append(how)
                time.sleep(0.01)
        counted = {how: failed.count(how) for how in failed}
        with lock:
            outcome.add(Outcome(0, mine, counted), at_the_same_time=True)

    threads = [threading.Thread(target=drive) for _ in range(case.connections)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, begin - time.perf_counter()))
    cpu = time.process_time()
    time.sleep(max(0.0, end - time.perf_counter()))
    outcome.cpu_seconds = time.process_time() - cpu
    for thread in threads:
        thread.join()
    return outcome


def _client(server: Server, asked: Sequence[Asked], connections: int) -> Ask:
    """Through the chooser, as the resolver asks."""
    chooser = HttpChooser(server.options(connections))
    chooser.check()

    def ask(number: int) -> str:
        question, options = asked[number % len(asked)]
        own = question._replace(label=question.label.replace(PLACE, _digits(number)))
        try:
            chooser.choose([(own, options)], salt="bench")
        except InferenceError as error:
            return error.outcome
        return "ok"

    return ask


def _raw(server: Server, asked: Sequence[Asked], connections: int) -> Ask:
    """By the HTTP library alone; the answer's status is all that is looked at."""
    requests = _requests(server, asked)
    http = _http(server, connections)

    def ask(number: int) -> str:
        path, body = requests[number % len(requests)]
        own = body.replace(PLACE.encode(), _digits(number).encode())
        try:
            status = http.post(path, content=own).status_code
        except httpx.HTTPError as error:
            return type(error).__name__
        return "ok" if status == httpx.codes.OK else str(status)

    return ask


def _http(server: Server, connections: int) -> httpx.Client:
    return httpx.Client(
        base_url=server.url,
        headers={"Content-Type": "application/json"},
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
    )


def _digits(number: int) -> str:
    """As long for every number, so that prompts of one question have the same length."""
    return f"{number:0{len(PLACE)}d}"[-len(PLACE) :]


class _Recorder(Transport):
    """Sends nothing, and knows what would have been sent last."""

    sent: tuple[str, bytes] = ("", b"")

    def post(self, path: str, body: dict[str, Any], *, deadline: float) -> None:
        self.sent = (path, orjson.dumps(body))


def _requests(server: Server, asked: Sequence[Asked]) -> list[tuple[str, bytes]]:
    """Path and body of each question's request, as the client's backend makes them."""
    backend = backend_for(server.options(1))
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    backend.verify(_wire(server, Transport), deadline=deadline)
    recorder = _wire(server, _Recorder)
    requests = []
    for question, options in asked:
        with suppress(InferenceError):  # there is no answer
            backend.read(recorder, build_prompt(question, options), salt=_SALT, deadline=deadline)
        requests.append(recorder.sent)
    return requests


def _wire(server: Server, kind: type[_T]) -> _T:
    return kind(server.url, api_key="", connections=1, timeout_seconds=_TIMEOUT_SECONDS)


def _prompt_tokens(server: Server, asked: Sequence[Asked]) -> float | None:
    """Mean length of some prompts, if the server tells."""
    told = []
    http = _http(server, 1)
    for path, body in _requests(server, asked)[:32]:
        usage = http.post(path, content=body).json().get("usage") or {}
        if "prompt_tokens" in usage:
            told.append(int(usage["prompt_tokens"]))
    return round(sum(told) / len(told), 1) if told else None


def table(report: dict[str, Any]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [
        "| connections | way | requests/s | p50 ms | p95 ms | CPU ms a request | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    figures = ("requests_per_second", "p50_ms", "p95_ms", "cpu_ms_a_request")
    for row in report["rows"]:
        for way in ("raw", "client"):
            cells = [row["connections"], way, *(row[way][name] for name in figures)]
            lines.append(_line([*cells, sum(row[way]["failures"].values())]))
        more = row["overhead_percent"]
        lines.append(_line(["", "overhead, %", *(more.get(name, "") for name in figures), ""]))
    return lines


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="scheme, host and port of the server")
    parser.add_argument("--backend", choices=("vllm", "embedded"), default="vllm")
    parser.add_argument("--model", default="base", help="name of the base model")
    parser.add_argument("--adapter", default="", help="name of the LoRA adapter; none by default")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each way, in two turns")
    parser.add_argument("--questions", type=Path, help="file that --write-questions made")
    parser.add_argument("--write-questions", type=Path, help="write them, and ask nothing")
    parser.add_argument("--json", type=Path, default=Path("bench-vllm.json"), help="report")
    options = parser.parse_args()
    asked = questions.read(options.questions) if options.questions else questions.make(512)
    if options.write_questions:
        questions.write(options.write_questions, asked)
        return
    if not options.url:
        parser.error("--url is needed: start a server first")
    server = Server(options.url, options.backend, options.model, options.adapter)
    cases = [Case(n, options.seconds) for n in options.connections]
    report = measure(server, asked, cases, lambda row: print(json.dumps(row), flush=True))
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(report)))


if __name__ == "__main__":
    main()

"""A load client that costs little: plain sockets, one thread a connection, requests made before.

It runs in a process of its own, so that it does not share the server's interpreter.
"""

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Load:
    """What to send: each connection sends `bodies` in turn until `seconds` are over."""

    port: int
    path: str
    key: str
    bodies: Sequence[bytes]
    connections: int
    seconds: float
    cpu: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came back. Latencies in milliseconds."""

    requests: int
    seconds: float
    failures: int
    p50: float
    p95: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def run(load: Load) -> Outcome:
    """Run the load in a new process and wait for it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(load, theirs))
    process.start()
    outcome: Outcome = ours.recv()
    process.join()
    return outcome


def _main(load: Load, pipe: Connection) -> None:
    if load.cpu is not None:
        os.sched_setaffinity(0, {load.cpu})
    requests = [_request(load, body) for body in load.bodies]
    latencies: list[list[float]] = [[] for _ in range(load.connections)]
    failures = [0] * load.connections
    deadline = time.perf_counter() + load.seconds
    started = time.perf_counter()
    threads = [
        threading.Thread(
            target=_drive,
            args=(load, requests[index:] + requests[:index], deadline, latencies, failures, index),
        )
        for index in range(load.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    every = sorted(latency for one in latencies for latency in one)
    pipe.send(
        Outcome(
            requests=len(every),
            seconds=elapsed,
            failures=sum(failures),
            p50=_percentile(every, 0.50),
            p95=_percentile(every, 0.95),
            p99=_percentile(every, 0.99),
        )
    )


def _percentile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] * 1000 if values else 0.0


def _request(load: Load, body: bytes) -> bytes:
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: localhost:{load.port}\r\n"
        f"Authorization: Bearer {load.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _drive(
    load: Load,
    requests: Sequence[bytes],
    deadline: float,
    latencies: list[list[float]],
    failures: list[int],
    index: int,
) -> None:
    mine = latencies[index]
    with socket.create_connection(("127.0.0.1", load.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        turn = 0
        while (now := time.perf_counter()) < deadline:
            connection.sendall(requests[turn % len(requests)])
            status = _read_response(connection)
            mine.append(time.perf_counter() - now)
            failures[index] += status != 200
            turn += 1


def _read_response(connection: socket.socket) -> int:
    data = connection.recv(262_144)
    end = data.find(b"\r\n\r\n")
    while end < 0:
        data += connection.recv(262_144)
        end = data.find(b"\r\n\r\n")
    head = data[:end].lower()
    start = head.index(b"content-length:") + 15
    length = int(head[start : head.find(b"\r\n", start) if b"\r\n" in head[start:] else None])
    missing = end + 4 + length - len(data)
    while missing > 0:
        missing -= len(connection.recv(262_144))
    return int(head[9:12])


def example_items(path: str) -> list[dict[str, object]]:
    """The shipped raw outputs, as /map takes them."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]

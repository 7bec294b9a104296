"""A steady load on a stack that remembers what it was told."""

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

ITEM = {"detector": "llama-guard-3", "output": "unsafe\nS1"}


@dataclass
class Ledger:
    """What callers were answered."""

    stored: list[str] = field(default_factory=list)  # event ids answered with 200
    statuses: Counter[int] = field(default_factory=Counter)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # connections without an answer
    last_ok: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


PLAIN = (("/map", False), ("/map/batch", False))
KEYED = (("/map", True), ("/map/batch", True))


class Load:
    """Callers that send until stopped. `kinds`: path, and whether with an Idempotency-Key."""

    def __init__(self, port: int, key: str, kinds: tuple[tuple[str, bool], ...]) -> None:
        self.port, self.key = port, key
        self.ledger = Ledger()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_until_stopped, args=kind) for kind in kinds
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for_success(self, *, after: float, seconds: float = 30) -> None:
        """Wait until a request sent after that moment was answered 200."""
        deadline = time.monotonic() + seconds
        while self.ledger.last_ok <= after:
            assert time.monotonic() < deadline, f"no 200 within {seconds} s"
            time.sleep(0.05)

    def _send_until_stopped(self, path: str, once: bool) -> None:
        body = json.dumps(ITEM if path == "/map" else {"requests": [ITEM] * 5})
        while not self._stop.is_set():
            key = str(uuid.uuid4()) if once else None
            started = time.monotonic()
            answer = self._post(path, body, key)
            # A caller with an Idempotency-Key sends the same request until it is answered.
            while once and answer is None:
                time.sleep(0.05)
                started = time.monotonic()
                answer = self._post(path, body, key)
            if answer is not None:
                self._remember(path, answer, started)
            time.sleep(0.01)

    def _remember(self, path: str, answer: dict[str, Any], started: float) -> None:
        results = [answer] if path == "/map" else answer["results"]
        with self.ledger.lock:
            self.ledger.stored += [result["event_id"] for result in results]
            self.ledger.last_ok = max(self.ledger.last_ok, started)

    def _post(self, path: str, body: str, key: str | None) -> dict[str, Any] | None:
        """The body of a 200, else None with a note in the ledger."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            with self.ledger.lock:
                self.ledger.broken.append(type(error).__name__)
            return None
        finally:
            connection.close()
        with self.ledger.lock:
            self.ledger.statuses[response.status] += 1
            if response.status != 200:
                retry = response.headers.get("Retry-After")
                self.ledger.refusals.append({"status": response.status, "retry": retry, **answer})
        return answer if response.status == 200 else None

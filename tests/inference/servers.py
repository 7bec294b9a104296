"""Small real HTTP servers for the client's tests: they answer well, slowly, or rubbish."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from mapping.resolver.prompt import LETTERS

MODEL, ADAPTER = "SmolLM2-135M-Instruct", "mapper-7"
DIGEST = "ab" * 32

# (status, content type, body); a body that is an iterator is sent piece by piece.
Reply = tuple[int, str, bytes | Iterator[bytes]]
Responder = Callable[[str, str, Any], Reply]  # method, path, parsed body


class Server:
    """Answers with whatever `respond` says now; remembers what it was asked."""

    def __init__(self, respond: Responder) -> None:
        self.respond = respond
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                outer.asked.append((self.command, self.path, body))
                outer.headers.append(dict(self.headers))
                status, content_type, data = outer.respond(self.command, self.path, body)
                if status == 0:  # not even HTTP
                    self.wfile.write(data if isinstance(data, bytes) else b"")
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                if isinstance(data, bytes):
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    return
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                for piece in data:
                    self.wfile.write(piece)
                    self.wfile.flush()

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_words: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_words: object) -> None:
                pass  # a client that gave up

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Server"]:
        thread = Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join(5)


def as_json(document: Any, status: int = 200) -> Reply:
    return status, "application/json", json.dumps(document).encode()


def dripping(seconds: float) -> Iterator[bytes]:
    """A body that never ends."""
    yield b"["
    while True:
        time.sleep(seconds)
        yield b" "


def worker_models(
    adapter: str = ADAPTER, parent: str = MODEL, digest: str = DIGEST, fingerprint: str = "one"
) -> dict[str, Any]:
    """What our worker says at /v1/models."""
    return {
        "object": "list",
        "data": [
            {
                "id": adapter,
                "object": "model",
                "root": adapter,
                "parent": parent,
                "base_sha256": DIGEST,
                "adapter_sha256": digest,
                "fingerprint": fingerprint,
                "letter_token_ids": {letter: 49 + i for i, letter in enumerate(LETTERS)},
            }
        ],
    }


def worker_answer(
    body: dict[str, Any], log_probs: dict[str, float], fingerprint: str = "one"
) -> dict[str, Any]:
    """What our worker answers if it thinks so of the letters."""
    top = [
        {
            "token": f"token_id:{token}",
            "logprob": log_probs.get(LETTERS[token - 49], -12.0),
            "bytes": [],
        }
        for token in body["logprob_token_ids"]
    ]
    content = {"token": "token_id:49", "logprob": -0.1, "bytes": [], "top_logprobs": top}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "system_fingerprint": fingerprint,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A"},
                "logprobs": {"content": [content]},
                "finish_reason": "length",
            }
        ],
    }


def good_worker(method: str, path: str, body: Any) -> Reply:
    """Always sure of A."""
    if path == "/v1/models":
        return as_json(worker_models())
    return as_json(worker_answer(body, {"A": -0.1, "B": -3.0}))

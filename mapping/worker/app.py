"""The worker's WSGI application: JSON in and out, nothing logged of a prompt."""

import hmac
import logging
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from mapping.worker.metrics import CONTENT_TYPE, Metrics
from mapping.worker.model import LetterModel
from mapping.worker.protocol import (
    ChatRequest,
    LoadRequest,
    UnloadRequest,
    complaint,
    completion,
    error_body,
    model_list,
)
from mapping.worker.reader import Full, Late, Reader
from mapping.worker.shelf import Shelf, ShelfError, UnknownModelError

log = logging.getLogger(__name__)

MOST_BYTES: Final = 262_144  # of a request
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
# What the caller will wait, in milliseconds: later than that an answer is of no use to it.
_BUDGET_HEADER: Final = "HTTP_X_BUDGET_MS"
_LONGEST_MS: Final = 60_000

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Answer = tuple[int, str, bytes]
Request = TypeVar("Request", bound=BaseModel)


class Refusal(Exception):  # noqa: N818
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Application:
    """Called by the server's threads."""

    def __init__(
        self, shelf: Shelf, reader: Reader, metrics: Metrics, *, key: str, most_tokens: int
    ) -> None:
        self._shelf = shelf
        self._reader = reader
        self._metrics = metrics
        self._key = key.encode()
        self._most_tokens = most_tokens
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], Answer]] = {
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._exposition,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/load_lora_adapter"): self._load,
            ("POST", "/v1/unload_lora_adapter"): self._unload,
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        try:
            status, content_type, body = self._answer(environ)
        except Refusal as refusal:
            status, content_type = refusal.status, _JSON
            body = orjson.dumps(error_body(status, str(refusal)))
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote the prompt
            log.error("A request failed: %s", type(error).__name__)
            status, content_type = 500, _JSON
            body = orjson.dumps(error_body(500, "The worker failed. Its log names the error."))
        self._metrics.requests.labels(str(status)).inc()
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        path = str(environ.get("PATH_INFO", ""))
        method = str(environ["REQUEST_METHOD"])
        if path.startswith("/v1/"):
            self._check_key(str(environ.get("HTTP_AUTHORIZATION", "")))
        route = self._routes.get((method, path))
        if route is not None:
            return route(environ)
        if any(path == known for _, known in self._routes):
            raise Refusal(405, "This address does not take that method.")
        raise Refusal(404, "There is no such address.")

    def _check_key(self, given: str) -> None:
        if self._key and not hmac.compare_digest(given.encode(), b"Bearer " + self._key):
            raise Refusal(401, "Send the worker's key: Authorization: Bearer KEY.")

    def _health(self, environ: dict[str, Any]) -> Answer:
        if not self._reader.is_alive:
            raise Refusal(503, "The thread that reads has ended.")
        return 200, _JSON, b'{"status":"ok"}'

    def _exposition(self, environ: dict[str, Any]) -> Answer:
        return 200, CONTENT_TYPE, self._metrics.exposition()

    def _models(self, environ: dict[str, Any]) -> Answer:
        return 200, _JSON, orjson.dumps(model_list(self._shelf.models()))

    def _load(self, environ: dict[str, Any]) -> Answer:
        request = _parsed(LoadRequest, environ)
        try:
            self._shelf.load(request.lora_name, request.lora_path)
        except ShelfError as error:
            raise Refusal(400, str(error)) from None
        return 200, _TEXT, f"Success: LoRA adapter '{request.lora_name}' added.".encode()

    def _unload(self, environ: dict[str, Any]) -> Answer:
        request = _parsed(UnloadRequest, environ)
        try:
            self._shelf.unload(request.lora_name)
        except UnknownModelError:
            raise Refusal(404, "No adapter of that name is served here.") from None
        return 200, _TEXT, f"Success: LoRA adapter '{request.lora_name}' removed.".encode()

    def _chat(self, environ: dict[str, Any]) -> Answer:
        deadline = time.monotonic() + _budget(environ)
        request = _parsed(ChatRequest, environ)
        try:
            with self._shelf.using(request.model) as model:
                return self._read(model, request, deadline)
        except UnknownModelError:
            raise Refusal(
                404, "That model is not served here. GET /v1/models names those that are."
            ) from None

    def _read(self, model: LetterModel, request: ChatRequest, deadline: float) -> Answer:
        if any(token >= model.vocabulary for token in request.logprob_token_ids):
            raise Refusal(400, "logprob_token_ids: there is no such token.")
        tokens = model.tokens_of([message.model_dump() for message in request.messages])
        most = min(self._most_tokens, model.longest - 1)
        if len(tokens) > most:
            raise Refusal(400, f"messages: more than {most} tokens.")
        self._metrics.tokens.observe(len(tokens))
        try:
            reading = self._reader.ask(model, tokens, request.logprob_token_ids, deadline=deadline)
        except Full:
            raise Refusal(503, "As many questions wait as may. Try again later.") from None
        except Late:
            raise Refusal(503, "The time for this question was over before it was read.") from None
        return 200, _JSON, orjson.dumps(completion(model, request, tokens, reading))


def _parsed(kind: type[Request], environ: dict[str, Any]) -> Request:
    try:
        return kind.model_validate_json(_body(environ))
    except ValidationError as error:
        raise Refusal(400, complaint(error)) from None


def _body(environ: dict[str, Any]) -> bytes:
    length = str(environ.get("CONTENT_LENGTH") or "")
    if not length.isascii() or not length.isdigit():
        raise Refusal(411, "Send a Content-Length.")
    if int(length) > MOST_BYTES:
        raise Refusal(413, f"More than {MOST_BYTES} bytes.")
    return bytes(environ["wsgi.input"].read(int(length)))


def _budget(environ: dict[str, Any]) -> float:
    """Seconds that the caller waits."""
    given = str(environ.get(_BUDGET_HEADER, ""))
    if given.isascii() and given.isdigit():
        return min(int(given), _LONGEST_MS) / 1000
    return _LONGEST_MS / 1000

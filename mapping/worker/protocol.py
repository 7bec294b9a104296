"""The part of OpenAI's chat protocol, in vLLM's dialect, that the worker speaks."""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mapping.worker.model import LetterModel
from mapping.worker.reader import Reading

_MOST_TOKEN_IDS = 128  # as in vLLM


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=20_000)]


class ChatRequest(BaseModel):
    """What may be asked: the first token of an answer. Anything else is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=64)]
    max_tokens: Literal[1]
    temperature: Annotated[float, Field(ge=0, le=0)] = 0.0
    logprobs: bool = False
    logprob_token_ids: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=_MOST_TOKEN_IDS)
    ] = Field(default_factory=list)
    return_tokens_as_token_ids: Literal[True] = True
    return_token_ids: bool = False
    # Accepted for the sake of one client: no state is kept here but that of our own system prompt.
    cache_salt: Annotated[str, Field(max_length=200)] = ""


class LoadRequest(BaseModel):
    """An adapter to load, as vLLM is told."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lora_name: Annotated[str, Field(min_length=1, max_length=100)]
    lora_path: Annotated[str, Field(min_length=1, max_length=4_096)]
    load_inplace: Literal[False] = False  # another version has another name


class UnloadRequest(BaseModel):
    """An adapter to take away."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lora_name: Annotated[str, Field(min_length=1, max_length=100)]


def complaint(error: ValidationError) -> str:
    """What is wrong with a request, without quoting it."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{where}: {first['msg']}"


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error as OpenAI's clients expect it."""
    kind = {401: "authentication_error", 404: "not_found_error"}.get(status)
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "code": status}}


def model_list(models: Sequence[LetterModel]) -> dict[str, Any]:
    """The models that are served, with what identifies them."""
    return {"object": "list", "data": [_card(model) for model in models]}


def _card(model: LetterModel) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "pillars",
        "root": model.name,
        "parent": model.base.name if model.adapter else None,
        "max_model_len": model.longest,
        "base_sha256": model.base.sha256,
        "adapter_sha256": model.adapter.sha256 if model.adapter else "",
        "precision": model.precision,
        "fingerprint": model.fingerprint,
        "letter_token_ids": model.letter_tokens,
    }


def completion(
    model: LetterModel, request: ChatRequest, tokens: Sequence[int], reading: Reading
) -> dict[str, Any]:
    """The answer: one token, and what was asked about others."""
    log_probs = None
    if request.logprobs:
        pairs = zip(request.logprob_token_ids, reading.log_probs, strict=True)
        top = [{"token": f"token_id:{token}", "logprob": value} for token, value in pairs]
        log_probs = {"content": [{"token": f"token_id:{reading.top}", "top_logprobs": top}]}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": model.text_of(reading.top)},
        "logprobs": log_probs,
        "finish_reason": "length",
    }
    usage = {
        "prompt_tokens": len(tokens), "completion_tokens": 1, "total_tokens": len(tokens) + 1,
    }  # fmt: skip
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": model.fingerprint,
        "choices": [choice],
        "usage": usage,
    }
    if request.return_token_ids:
        body["prompt_token_ids"] = list(tokens)
    return body

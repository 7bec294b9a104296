"""A small real server that states the shipped model's identity and answers as a test wants."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mapping.inference import HttpChooser, InferenceOptions
from mapping.resolver.types import ModelIdentity
from tests.inference.servers import Reply, Server, as_json, worker_answer, worker_models

# Lines of a prompt's user message -> letter: log-probability.
Opinion = Callable[[list[str]], dict[str, float]]


def opinion(lines: list[str]) -> dict[str, float]:
    """One that hangs on the whole question alone: another order of options would change it."""
    found = {}
    for line in lines:
        if line[1:2] == " ":
            digest = hashlib.sha256("\n".join([*lines, line]).encode()).digest()
            found[line[0]] = -0.05 - digest[0] / 40
    return found


def sure_of(words: str) -> Opinion:
    """Certain of the option whose line holds these words; of the last one if none does."""

    def sure(lines: list[str]) -> dict[str, float]:
        options = [line for line in lines if line[1:2] == " "]
        chosen = next((line for line in options if words in line), options[-1])
        return {line[0]: -0.001 if line is chosen else -9.0 for line in options}

    return sure


def responder(identity: ModelIdentity, think: Opinion = opinion) -> Callable[..., Reply]:
    """Answers like our worker that runs the model of `identity`."""

    def respond(_method: str, path: str, body: Any) -> Reply:
        if path == "/v1/models":
            card = worker_models(identity.adapter, identity.base, identity.adapter_digest)
            card["data"][0]["base_sha256"] = identity.base_digest
            return as_json(card)
        lines = body["messages"][-1]["content"].splitlines()
        return as_json(worker_answer(body, think(lines)))

    return respond


def options_of(identity: ModelIdentity, url: str, **more: Any) -> InferenceOptions:
    """What a client of that server is told."""
    return InferenceOptions(
        backend="embedded",
        url=url,
        model=identity.base,
        adapter=identity.adapter,
        **{"timeout_seconds": 5.0, **more},
    )


@contextmanager
def client_of(identity: ModelIdentity, url: str, **more: Any) -> Iterator[HttpChooser]:
    """A client of that server."""
    chooser = HttpChooser(options_of(identity, url, **more))
    try:
        yield chooser
    finally:
        chooser.close()


@contextmanager
def model_server(identity: ModelIdentity, think: Opinion = opinion) -> Iterator[Server]:
    """The server, running."""
    with Server(responder(identity, think)).running() as server:
        yield server

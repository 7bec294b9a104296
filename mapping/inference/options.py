"""What an operator decides about the client."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

BackendName: TypeAlias = Literal["embedded", "vllm", "tgi", "llamacpp"]
Reading: TypeAlias = Literal["letters", "json"]


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """One server and the model that it must run."""

    backend: BackendName
    url: str  # scheme, host and port
    model: str  # name of the base model, as the server states it
    adapter: str = ""  # name of the LoRA adapter, as the server states it; empty: the base model
    model_digest: str = ""  # SHA-256 that the server must state; empty: any
    adapter_digest: str = ""
    api_key: str = ""
    # letters: log-probabilities of one token. json: a generated answer, for servers without them.
    reading: Reading = "letters"
    timeout_seconds: float = 0.5  # of a whole call, with connecting, checking and repeating
    max_in_flight: int = 8  # calls at a time; one more is refused at once
    breaker_failures: int = 5  # in a row, after which the server is left alone
    breaker_seconds: float = 5.0  # for how long
    salt_key: bytes = b""  # keys the digest that stands for a tenant; the same in every process

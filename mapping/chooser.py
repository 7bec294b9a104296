"""The language model of this installation, as settings name it."""

import os
from dataclasses import replace
from functools import lru_cache

from django.conf import settings
from django.utils.crypto import salted_hmac

from mapping.inference import HttpChooser, InferenceOptions
from mapping.inference.breaker import BreakerState
from mapping.inference.failures import Outcome
from mapping.serving.types import ServedModel
from pillars.observability.metrics import (
    INFERENCE_BREAKER,
    INFERENCE_LATENCY,
    INFERENCE_REQUESTS,
)

# Versions of the model that a process asks at once: live, on trial, and those just before.
_MOST = 4
_BREAKER_NUMBERS: dict[BreakerState, int] = {"closed": 0, "half_open": 1, "open": 2}


class PrometheusObserver:
    """Counts calls for /metrics."""

    def called(self, *, backend: str, outcome: Outcome, seconds: float) -> None:
        """One call of `choose`."""
        INFERENCE_REQUESTS.labels(backend, outcome).inc()
        INFERENCE_LATENCY.labels(backend).observe(seconds)

    def breaker(self, *, backend: str, state: BreakerState) -> None:
        """The circuit breaker has changed."""
        INFERENCE_BREAKER.labels(backend).set(_BREAKER_NUMBERS[state])


def current_chooser(served: ServedModel | None = None) -> HttpChooser | None:
    """The process's own chooser of a served version; None: of the model that pillars.yaml names.

    None if `inference.backend` is `none`. Reaches no server yet.
    """
    return _chooser_of(os.getpid(), served)


def inference_options(served: ServedModel | None = None) -> InferenceOptions | None:
    """What the configuration says about the model's server; None for no server."""
    options = _of_file()
    if options is None or served is None:
        return options
    return replace(
        options,
        model=served.base,
        adapter=served.adapter,
        model_digest=served.base_sha256,
        adapter_digest=served.adapter_sha256,
    )


def _of_file() -> InferenceOptions | None:
    section = settings.CONFIG.inference
    if section.backend == "none":
        return None
    return InferenceOptions(
        backend=section.backend,
        url=section.url,
        model=section.model,
        adapter=section.adapter,
        model_digest=section.model_digest,
        adapter_digest=section.adapter_digest,
        api_key=section.api_key.get_secret_value(),
        reading=section.reading,
        timeout_seconds=section.timeout_ms / 1000,
        max_in_flight=section.max_in_flight,
        breaker_failures=section.breaker_failures,
        breaker_seconds=section.breaker_seconds,
        salt_key=salted_hmac("mapping.inference", "cache", algorithm="sha256").digest(),
    )


@lru_cache(maxsize=_MOST)
def _chooser_of(process: int, served: ServedModel | None) -> HttpChooser | None:
    """By process: threads and connections do not survive a fork.

    One that is forgotten ends by itself once nobody asks it any more.
    """
    options = inference_options(served)
    if options is None:
        return None
    INFERENCE_BREAKER.labels(options.backend).set(0)
    return HttpChooser(options, PrometheusObserver())

"""One module for each kind of server: how it is asked, and what its numbers mean."""

from collections.abc import Callable
from typing import Final

from mapping.inference.backends.base import Backend
from mapping.inference.backends.generated import GeneratedBackend
from mapping.inference.backends.llamacpp import LlamaCppBackend
from mapping.inference.backends.tgi import TgiBackend
from mapping.inference.backends.vllm import EmbeddedBackend, VllmBackend
from mapping.inference.options import BackendName, InferenceOptions

__all__ = ["Backend", "backend_for"]

_BY_NAME: Final[dict[BackendName, Callable[[InferenceOptions], Backend]]] = {
    "embedded": EmbeddedBackend,
    "vllm": VllmBackend,
    "tgi": TgiBackend,
    "llamacpp": LlamaCppBackend,
}


def backend_for(options: InferenceOptions) -> Backend:
    """The backend that the options name."""
    if options.reading == "json":
        return GeneratedBackend(options)
    return _BY_NAME[options.backend](options)

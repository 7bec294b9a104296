"""What the worker counts, for GET /metrics."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0, 2.5)


class Metrics:
    """In a registry of its own: a test may run several workers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "pillars_worker_requests_total", "Requests, by status", ["status"],
            registry=self._registry,
        )  # fmt: skip
        self.wait = Histogram(
            "pillars_worker_wait_seconds", "Time in line", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.forward = Histogram(
            "pillars_worker_forward_seconds", "Time of a forward pass", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.waiting = Gauge("pillars_worker_waiting", "Questions in line", registry=self._registry)
        self.tokens = Histogram(
            "pillars_worker_prompt_tokens", "Tokens of a prompt",
            buckets=(50, 100, 150, 200, 250, 300, 400, 500, 1000, 2000), registry=self._registry,
        )  # fmt: skip

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

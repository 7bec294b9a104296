"""Prometheus metrics. Label sets are bounded: no tenant, no client-made name.

Several web processes share one exporter when PROMETHEUS_MULTIPROC_DIR is set.
"""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 10.0)

REQUESTS = Counter("pillars_http_requests_total", "HTTP requests", ["route", "method", "status"])
LATENCY = Histogram(
    "pillars_http_request_duration_seconds",
    "Time to answer an HTTP request",
    ["route"],
    buckets=LATENCY_BUCKETS,
)
EVENTS = Counter(
    "pillars_mapping_events_total", "Mapped detector outputs", ["detector", "decision"]
)
FINDINGS = Counter(
    "pillars_mapping_findings_total", "Findings, by how they were mapped", ["method"]
)
BATCH_ITEMS = Histogram(
    "pillars_batch_items", "Items in a batch request", buckets=(1, 10, 50, 100, 250, 500, 1000)
)
PROBLEMS = Counter("pillars_problems_total", "Problem details answered, by code", ["code"])
RATE_LIMITED = Counter("pillars_rate_limited_total", "Requests refused by a limit", ["scope"])
BROKER_UP = Gauge(
    "pillars_rate_limit_store_up",
    "1 while the shared rate-limit store answers, 0 while limits are kept per process",
    multiprocess_mode="min",
)
INFERENCE_REQUESTS = Counter(
    "pillars_inference_requests_total", "Calls of the language model", ["backend", "outcome"]
)
INFERENCE_LATENCY = Histogram(
    "pillars_inference_duration_seconds",
    "Time that a call of the language model took",
    ["backend"],
    buckets=LATENCY_BUCKETS,
)
INFERENCE_BREAKER = Gauge(
    "pillars_inference_breaker_state",
    "Circuit breaker of the language model: 0 closed, 1 half open, 2 open",
    ["backend"],
    multiprocess_mode="max",
)
MAPPING_MODE = Gauge(
    "pillars_mapping_mode",
    "1 for the mapping mode in force, 0 for the others",
    ["mode"],
    multiprocess_mode="mostrecent",  # of several processes, what was read last
)
SERVED_MODEL = Gauge(
    "pillars_served_model",
    "1 for the version of the model that is live or on trial, 0 for those before",
    ["role", "version"],
    multiprocess_mode="mostrecent",
)
SHADOW_QUESTIONS = Counter(
    "pillars_shadow_questions_total",
    "Questions for the version that is asked beside the live one, by what became of them",
    ["outcome"],
)
RETRIED_WRITES = Counter(
    "pillars_event_write_retries_total", "Event writes repeated after a lost database connection"
)


def exposition() -> tuple[bytes, str]:
    """(body, content type) of the text exposition for all processes of this service."""
    registry: CollectorRegistry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST

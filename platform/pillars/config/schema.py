"""What `pillars.yaml` may say. Every field has a unit in its description."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
MappingMode = Literal["hybrid", "model_first", "rules_only"]
DetectorName = Annotated[str, Field(min_length=1, max_length=100)]
Branch = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$", max_length=80)]
Hostname = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]


class Section(BaseModel):
    """A part of the configuration: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Server(Section):
    """Where the service is reached and how it protects its session cookies."""

    platform_hosts: list[Hostname] = Field(
        default=["localhost", "127.0.0.1"],
        min_length=1,
        description="Host names of the platform: its admin, and the API for keys of any tenant",
    )
    tenant_domain: Hostname = Field(
        default="localhost",
        description="A new tenant is reached at SLUG.<this domain> unless it is given another name",
    )
    port: int = Field(default=8800, ge=1, le=65535, description="TCP port of the local web server")
    https: bool = Field(
        default=False,
        description="True behind TLS: secure cookies, HSTS and https addresses",
    )
    trusted_proxy: bool = Field(
        default=False,
        description="True if a proxy in front sets X-Forwarded-Proto; nothing else is believed",
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="If set, /metrics wants it as a bearer token"
    )


class Mapping(Section):
    """How a detection becomes a canonical label."""

    mode: MappingMode = Field(
        default="hybrid",
        description="Who maps where nobody has chosen: hybrid (rules, then the model for unknown "
        "labels), model_first or rules_only",
    )
    models: str = Field(
        default="",
        description="Folder of encoder and calibrators; empty for those that come with Pillars",
    )
    confidence_threshold: Probability = Field(
        default=0.6, description="Mappings under this probability are not taken without review"
    )
    detector_thresholds: dict[DetectorName, Probability] = Field(
        default={}, description="The same for single detectors, as {presidio: 0.8}"
    )
    branch_thresholds: dict[Branch, Probability] = Field(
        default={},
        description='For labels or branches, as {"PII": 0.5, "HARM.SPEECH": 0.7}; they go before '
        "those of detectors",
    )
    frameworks: list[str] = Field(
        default=["soc2", "iso27001", "hipaa"],
        description="An answer names controls of these frameworks; reports offer all loaded ones",
    )
    controls_min_strength: int = Field(
        default=5,
        ge=0,
        le=10,
        description="An answer names the controls of crosswalk rows this strong; reports name all",
    )
    knowledge_refresh_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Seconds after which a running process sees a newly loaded taxonomy",
    )


class Limits(Section):
    """What a request may weigh. A request over a limit is refused, never cut."""

    item_bytes: int = Field(
        default=65_536, ge=1_024, le=1_048_576, description="Bytes of one item of /map, as JSON"
    )
    request_bytes: int = Field(
        default=8_388_608, ge=1_024, le=67_108_864, description="Bytes of one request's body"
    )
    batch_items: int = Field(default=1_000, ge=1, le=10_000, description="Items of /map/batch")
    nesting_depth: int = Field(
        default=32, ge=4, le=100, description="Levels of objects and arrays in one item"
    )
    label_chars: int = Field(
        default=200, ge=16, le=1_000, description="Characters of a key of label_descriptions"
    )
    description_chars: int = Field(
        default=2_000, ge=16, le=20_000, description="Characters of one label description"
    )
    label_descriptions: int = Field(
        default=200, ge=1, le=5_000, description="Entries of label_descriptions in one item"
    )


class RateLimits(Section):
    """Items a minute. One /map request is one item; a batch costs its items."""

    key_items_per_minute: int = Field(default=1_200_000, ge=1, description="For one API key")
    tenant_items_per_minute: int = Field(
        default=2_400_000, ge=1, description="For all keys of a tenant together"
    )


class Idempotency(Section):
    """How long a request sent with an Idempotency-Key is remembered."""

    ttl_hours: int = Field(default=24, ge=1, le=168, description="Hours")


class Retention(Section):
    """How long data is kept before it is deleted, in days."""

    events_days: int = Field(
        default=455,
        ge=30,
        le=3_650,
        description="Mapping events: 90 days hot and a year after; whole months are dropped",
    )
    reports_days: int = Field(default=2_555, ge=30, le=3_650, description="Finished reports")


class Reports(Section):
    """Limits of the compliance reports."""

    max_period_days: int = Field(
        default=400, ge=1, le=1_830, description="Days that one report may cover"
    )


class Governance(Section):
    """How the knowledge changes."""

    taxonomy_approvals: int = Field(
        default=1, ge=1, le=5, description="Other people who must approve a change of a label"
    )
    detector_approvals: int = Field(
        default=1, ge=1, le=5, description="Other people who must approve a change of a detector"
    )
    crosswalk_approvals: int = Field(
        default=2, ge=1, le=5, description="Other people who must approve a change of a crosswalk"
    )
    impact_days: int = Field(
        default=90, ge=1, le=400, description="Days of events in which a change's impact is counted"
    )


class Knowledge(Section):
    """How a tenant chooses the release of the knowledge that it works with."""

    undo_hours: int = Field(
        default=72, ge=1, le=8_760, description="Hours in which a tenant's choice can be undone"
    )


class Inference(Section):
    """The server with the language model that is asked about labels no rule knows."""

    backend: Literal["none", "embedded", "vllm", "tgi", "llamacpp"] = Field(
        default="none", description="Kind of server; `make up` starts an embedded one"
    )
    url: str = Field(
        default="http://127.0.0.1:8810",
        pattern=r"^https?://[^\s/?#@]+/?$",
        description="Scheme, host and port of the server",
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), description="Its key (PILLARS__INFERENCE__API_KEY)"
    )
    model: str = Field(
        default="SmolLM2-135M-Instruct",
        min_length=1,
        max_length=200,
        description="The base model that the server must state; another one is refused",
    )
    adapter: str = Field(
        default="",
        max_length=200,
        description="The LoRA adapter that it must state; empty for the base model alone",
    )
    model_digest: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of the base model's weights that the embedded server must state",
    )
    adapter_digest: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of the adapter's weights that the embedded server must state",
    )
    adapters: str = Field(
        default="",
        description="Folder from which the server loads adapters; versions are put there before "
        "they are loaded",
    )
    admin_url: str = Field(
        default="",
        description="Where the server is told to load adapters; empty for the same as url",
    )
    reading: Literal["letters", "json"] = Field(
        default="letters",
        description="letters: log-probabilities of one token; json: a generated answer, no scores",
    )
    timeout_ms: int = Field(
        default=500, ge=10, le=60_000, description="Milliseconds of a call, repeats included"
    )
    max_in_flight: int = Field(
        default=8, ge=1, le=256, description="Calls at a time in one process; more are refused"
    )
    breaker_failures: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Failures in a row, after which it is left alone",
    )
    breaker_seconds: float = Field(
        default=5.0, gt=0, le=600, description="Seconds until it is tried again"
    )


class Training(Section):
    """Where data sets, training runs and versions of models are kept."""

    folder: str = Field(
        default=".pillars/training",
        description="Folder of data sets, runs and versions of models; shared by web and workers",
    )
    base: str = Field(
        default="",
        description="Base model to train: a folder or a .gguf file; empty for the packaged SmolLM2",
    )
    store: str = Field(
        default="",
        description="Where versions of models are kept besides: s3://BUCKET/PREFIX; empty for "
        "the folder alone",
    )
    gate_min_f1: Probability = Field(
        default=0.7,
        description="Least micro-F1 with descriptions on held-out detectors, 0 to 1, to be "
        "promoted",
    )
    gate_min_parent: Probability = Field(
        default=0.8, description="Least share of right branches, 0 to 1, to be promoted"
    )
    gate_max_ece: Probability = Field(
        default=0.08, description="Largest calibration error (ECE), 0 to 1, to be promoted"
    )
    gate_max_p95_ms: int = Field(
        default=250,
        ge=1,
        le=60_000,
        description="Longest 95th percentile of an answer's time, in milliseconds, to be promoted",
    )
    gate_points_worse: float = Field(
        default=5.0,
        ge=0,
        le=100,
        description="Percentage points by which a detector may be worse than with the live version",
    )


class Review(Section):
    """How much the queue of labels that wait for a person keeps apart."""

    labels_per_detector: int = Field(
        default=1_000,
        ge=10,
        le=100_000,
        description="Labels of one detector, by name and by hash each; the rest is counted as one",
    )
    detectors: int = Field(
        default=500, ge=10, le=10_000, description="Detectors; labels of further ones count as one"
    )
    count_every_seconds: float = Field(
        default=30.0, ge=1, le=3_600, description="Seconds after which new events are counted"
    )


class Email(Section):
    """How e-mails about change sets are sent. Without a host they are written to files."""

    host: Hostname | None = Field(default=None, description="SMTP server")
    port: int = Field(default=587, ge=1, le=65535, description="TCP port of the SMTP server")
    starttls: bool = Field(default=True, description="Encrypt with STARTTLS; false where TLS is")
    tls: bool = Field(default=False, description="Encrypt from the first byte (port 465)")
    username: str | None = Field(
        default=None, description="Login of the SMTP server, if it wants one"
    )
    password: SecretStr = Field(
        default=SecretStr(""), description="Password of the SMTP server (PILLARS__EMAIL__PASSWORD)"
    )
    sender: str = Field(
        default="Pillars <pillars@localhost>", description="Sender, as `Name <address>`"
    )


class Observability(Section):
    """Logs of the service. They hold metadata alone, whatever the level."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is written"
    )


class Services(Section):
    """Where the servers behind Pillars are. Each is also a well-known environment variable."""

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://pillars@127.0.0.1:5432/pillars"),
        description="PostgreSQL (DATABASE_URL)",
    )
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Broker and rate limits: Redis or Valkey (REDIS_URL)",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Signs sessions, keys the hashes (PILLARS_SECRET_KEY); at least 32 characters",
    )
    connection_seconds: int = Field(
        default=600, ge=0, le=86_400, description="Seconds that a database connection is reused"
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        if _scheme(value) not in ("postgres", "postgresql"):
            raise ValueError(
                "services.database_url (DATABASE_URL) is not an address of PostgreSQL. "
                "Write it like postgresql://user:password@host:5432/name"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        if _scheme(value) not in ("redis", "rediss"):
            raise ValueError(
                "services.redis_url (REDIS_URL) is not an address of Redis or Valkey. "
                "Write it like redis://host:6379/0"
            )
        return value


def _scheme(address: SecretStr) -> str | None:
    """The scheme of an address; None if it cannot be read. Errors must not quote a password."""
    try:
        parts = urlsplit(address.get_secret_value())
        _ = parts.port
    except ValueError:
        return None
    return parts.scheme.lower()


class PillarsConfig(Section):
    """The whole file."""

    server: Server = Field(default_factory=Server)
    mapping: Mapping = Field(default_factory=Mapping)
    limits: Limits = Field(default_factory=Limits)
    rate_limits: RateLimits = Field(default_factory=RateLimits)
    idempotency: Idempotency = Field(default_factory=Idempotency)
    retention: Retention = Field(default_factory=Retention)
    reports: Reports = Field(default_factory=Reports)
    governance: Governance = Field(default_factory=Governance)
    knowledge: Knowledge = Field(default_factory=Knowledge)
    inference: Inference = Field(default_factory=Inference)
    review: Review = Field(default_factory=Review)
    training: Training = Field(default_factory=Training)
    email: Email = Field(default_factory=Email)
    observability: Observability = Field(default_factory=Observability)
    services: Services = Field(default_factory=Services)

    @model_validator(mode="after")
    def _item_fits_request(self) -> "PillarsConfig":
        if self.limits.item_bytes > self.limits.request_bytes:
            raise ValueError(
                "limits.item_bytes is larger than limits.request_bytes: "
                "raise request_bytes or lower item_bytes"
            )
        return self

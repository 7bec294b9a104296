"""The resolver of a release of the knowledge and a version of the model: built when it is first
needed, kept by process."""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import redis
import structlog
from django.conf import settings
from django.utils.crypto import salted_hmac

from access.keys.limiter import store
from mapping.chooser import current_chooser
from mapping.resolver.artifacts import SHIPPED, Artifacts, ArtifactsError
from mapping.resolver.cache import VerdictCache
from mapping.resolver.calibrate import Calibrator, month_of
from mapping.resolver.resolver import Resolver
from mapping.resolver.retrieve import Retriever, known_labels
from mapping.serving.types import ServedModel
from taxonomy.agreement import of_entry
from taxonomy.selectors import KnowledgeDocuments, documents_of
from tenants.context import public_context

log = structlog.get_logger("mapping.resolvers")
_MOST = 16  # releases for which a process keeps a resolver, as many as engines
_KEPT_SECONDS = 6 * 3600
_PAUSE_SECONDS = 5.0
_PREFIX = "pillars:verdict:"
_NOT_FITTED = (
    "No calibrator was fitted for this edition of the taxonomy. Fit one with "
    "`python -m training.calibration`."
)


class RedisStore:
    """Verdicts in the broker. While it is away nobody waits for it."""

    def __init__(self) -> None:
        self._away_until = 0.0

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """None for what is not there."""
        if time.monotonic() < self._away_until:
            return [None] * len(keys)
        try:
            return cast(list[bytes | None], store().mget([_PREFIX + key for key in keys]))
        except UnicodeError:  # somebody else's values: worked out anew, and written over
            return [None] * len(keys)
        except (redis.RedisError, OSError):
            self._away_until = time.monotonic() + _PAUSE_SECONDS
            return [None] * len(keys)

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Kept for some hours."""
        if time.monotonic() < self._away_until:
            return
        try:
            with store().pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(_PREFIX + key, value, ex=_KEPT_SECONDS)
                pipeline.execute()
        except (redis.RedisError, OSError):
            self._away_until = time.monotonic() + _PAUSE_SECONDS


class _Retrieval(NamedTuple):
    """What the resolvers of a release share, whichever model they ask."""

    taxonomy: Mapping[str, Any]
    retriever: Retriever
    calibrators: list[Calibrator]  # of the files; retrieval's first
    knowledge: str


# A release, and the version of the model; None: the one that pillars.yaml names.
_Key: TypeAlias = tuple[int, ServedModel | None]


class _Resolvers:
    """Thread-safe. A release that no calibrator fits has none: rules answer alone."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, Resolver | None] = OrderedDict()
        self._releases: OrderedDict[int, _Retrieval | None] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, serial: int, served: ServedModel | None) -> Resolver | None:
        key = (serial, served)
        found = self._kept.get(key, ...)
        if found is not ...:
            return found
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            else:
                self._kept[key] = self._build(serial, served)
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
            return self._kept[key]

    def _build(self, serial: int, served: ServedModel | None) -> Resolver | None:
        if serial not in self._releases:
            self._releases[serial] = _retrieval(serial)
            while len(self._releases) > _MOST:
                self._releases.popitem(last=False)
        found = self._releases[serial]
        return None if found is None else _resolver(found, served)


_RESOLVERS = _Resolvers()


def resolver_of(serial: int, served: ServedModel | None = None) -> Resolver | None:
    """For a release that can be used and a version of the model.

    `served` None: the model that pillars.yaml names. None if the models cannot be used: `why_not`
    says why.
    """
    return _RESOLVERS.of(serial, served)


def encoder_digest() -> str | None:
    """Of the encoder and glossary in use, see artifacts.digest_of; None if they cannot be used."""
    found = _artifacts()
    return None if isinstance(found, ArtifactsError) else found.encoder_digest


def artifacts_folder() -> Path:
    """Where the models are: `mapping.models`, or those that come with Pillars."""
    named = settings.CONFIG.mapping.models
    return Path(named) if named else SHIPPED


@cache
def _artifacts() -> Artifacts | ArtifactsError:
    try:
        return Artifacts.load(artifacts_folder())
    except ArtifactsError as error:
        log.error("models_not_usable", reason=str(error))
        return error


@cache
def _cache() -> VerdictCache:
    secret = salted_hmac("mapping.resolver", "cache", algorithm="sha256").digest()
    return VerdictCache(secret, RedisStore())


def why_not(serial: int, served: ServedModel | None = None) -> str:
    """Why labels are not put to the models, or not to the language model; empty if they are.

    Builds the release's resolver, so that the first request need not.
    """
    found = _artifacts()
    if isinstance(found, ArtifactsError):
        return "The models' files cannot be used: the log says which and why."
    resolver = resolver_of(serial, served)
    if resolver is None:
        return _NOT_FITTED
    if resolver.refused is not None:
        return (
            "No calibrator was fitted for the language model that answers: its confidences would "
            "mean nothing, so it is not asked. Fit one, or serve the model that has one."
        )
    return ""


def why_no_retrieval(edition: str) -> str:
    """Why retrieval cannot be used with an edition of the taxonomy; empty if it can."""
    found = _artifacts()
    if isinstance(found, ArtifactsError):
        return str(found)
    return "" if _calibrators(found, edition) else _NOT_FITTED


def retrieval_of_files(
    taxonomy: Mapping[str, Any], detectors: Iterable[Mapping[str, Any]]
) -> Resolver | None:
    """For parsed files that are in no release: retrieval alone, and no verdict is kept.

    None if it cannot be used: `why_no_retrieval` says why.
    """
    artifacts = _artifacts()
    if isinstance(artifacts, ArtifactsError):
        return None
    calibrators = _calibrators(artifacts, taxonomy["edition"])
    if not calibrators:
        return None
    retriever = Retriever(
        taxonomy, known_labels(detectors, of_entry), artifacts.encoder, artifacts.glossary
    )
    return Resolver(
        taxonomy=taxonomy, retriever=retriever, calibrators=calibrators[:1], knowledge=""
    )


def _resolver(found: _Retrieval, served: ServedModel | None) -> Resolver:
    calibrators = found.calibrators
    if served is not None:
        own = served.calibrator
        fits = (
            own is not None
            and own.encoder == encoder_digest()
            and _month(own) == _month(calibrators[0])
        )
        # Without one that fits the model is refused, and retrieval answers alone.
        calibrators = [calibrators[0], own] if own is not None and fits else calibrators[:1]
    return Resolver(
        taxonomy=found.taxonomy,
        retriever=found.retriever,
        calibrators=calibrators,
        knowledge=found.knowledge,
        chooser=current_chooser(served),
        cache=_cache(),
        together=_together(),
        budget_seconds=settings.CONFIG.inference.timeout_ms / 1000,
    )


def _month(calibrator: Calibrator) -> str:
    return month_of(calibrator.edition)


def _retrieval(serial: int) -> _Retrieval | None:
    artifacts = _artifacts()
    if isinstance(artifacts, ArtifactsError):
        return None
    with public_context():
        documents = documents_of(serial)
    taxonomy: Mapping[str, Any] = documents.taxonomy
    calibrators = _calibrators(artifacts, taxonomy["edition"])
    if not calibrators:
        log.error("no_calibrator", serial=serial)
        return None
    known = known_labels(documents.detectors, of_entry)
    retriever = Retriever(taxonomy, known, artifacts.encoder, artifacts.glossary)
    return _Retrieval(taxonomy, retriever, calibrators, _content(documents))


def _together() -> int:
    """The embedded worker reads one question after another; a server on a GPU reads many."""
    section = settings.CONFIG.inference
    return 1 if section.backend in ("none", "embedded") else section.max_in_flight


def _content(documents: KnowledgeDocuments) -> str:
    """Changes with any label or rule: verdicts on other knowledge are not found again."""
    content = json.dumps([documents.taxonomy, documents.detectors], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def _calibrators(artifacts: Artifacts, edition: str) -> list[Calibrator]:
    """Those that fit an edition, retrieval's first; none if there is none for retrieval."""
    month = month_of(edition)
    found = [one for one in artifacts.calibrators if month_of(one.edition) == month]
    return found if found and found[0].identity is None else []

"""Verdicts that were worked out before, in the process and, if there is one, in a shared store.

The key is a keyed hash of everything that a verdict depends on, so a change of any of it finds
nothing old, and nobody who reads the store learns a vendor's words. Thresholds and tenants' own
decisions play no part in a verdict, so tenants may share it.
"""

import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from mapping.resolver.settle import METHODS, Verdict
from mapping.resolver.types import LabelQuestion

_MOST: Final = 20_000
_STORED: Final = 7  # fields of a verdict; the versions of who answered stand in the key


class Store(Protocol):
    """A shared store, which may fail: then it is as if it were empty."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values in the order of the keys."""
        ...

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep them for a while."""
        ...


class VerdictCache:
    """Thread-safe; least recently used verdicts are dropped first."""

    def __init__(self, secret: bytes, store: Store | None = None, most: int = _MOST) -> None:
        self._secret = secret
        self._store = store
        self._most = most
        self._kept: OrderedDict[str, Verdict] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, question: LabelQuestion, fingerprint: str) -> str:
        """`fingerprint` stands for knowledge, encoder, model, prompt and calibrator."""
        content = json.dumps([fingerprint, *question], ensure_ascii=True)
        return hmac.new(self._secret, content.encode(), hashlib.sha256).hexdigest()

    def get(self, keys: Sequence[str]) -> dict[str, Verdict]:
        """Those that are known."""
        found: dict[str, Verdict] = {}
        with self._lock:
            for key in keys:
                verdict = self._kept.get(key)
                if verdict is not None:
                    self._kept.move_to_end(key)
                    found[key] = verdict
        missing = [key for key in keys if key not in found]
        if missing and self._store is not None:
            values = self._store.get_many(missing)
            shared = {
                key: verdict
                for key, value in zip(missing, values, strict=True)
                if value is not None and (verdict := _read(value)) is not None
            }
            self._keep(shared)
            found |= shared
        return found

    def put(self, verdicts: Mapping[str, Verdict]) -> None:
        """Keep them here and in the store."""
        self._keep(verdicts)
        if verdicts and self._store is not None:
            self._store.set_many({key: _written(one) for key, one in verdicts.items()})

    def _keep(self, verdicts: Mapping[str, Verdict]) -> None:
        with self._lock:
            for key, verdict in verdicts.items():
                self._kept[key] = verdict
                self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _written(verdict: Verdict) -> bytes:
    return json.dumps(verdict[:_STORED]).encode()


def _read(value: bytes) -> Verdict | None:
    """None if the store holds something else: it is worked out anew."""
    try:
        labels, confidence, branch, branch_confidence, candidates, review, method = json.loads(
            value
        )
        found = Verdict(
            tuple(labels),
            float(confidence),
            str(branch),
            float(branch_confidence),
            tuple((str(name), float(share)) for name, share in candidates),
            tuple(review),
            str(method),
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return found if _makes_sense(found, labels, review) else None


def _makes_sense(verdict: Verdict, labels: object, review: object) -> bool:
    shares = (
        verdict.confidence,
        verdict.branch_confidence,
        *(share for _, share in verdict.candidates),
    )
    return (
        isinstance(labels, list)
        and isinstance(review, list)
        and bool(labels)
        and all(isinstance(name, str) for name in (*labels, *review))
        and all(0 <= share <= 1 for share in shares)
        and verdict.method in METHODS
    )

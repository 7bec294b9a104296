"""The version on trial is asked what the live one has answered, beside the requests.

A request hands its questions over and goes on. One thread asks them one after another, and rests
after each as long as it took, so that the live version keeps most of the server's time. What does
not find a place in the line is dropped and counted: the sample is what there is time for. The
vendors' words are in memory alone, for as long as a question waits.
"""

import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple

import structlog
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.utils import timezone

from mapping.models import ShadowAnswer
from mapping.recording import hasher, safe_text
from mapping.resolver.settle import Verdict
from mapping.resolver.types import LabelQuestion
from mapping.resolvers import resolver_of
from mapping.serving.in_force import live_name
from mapping.serving.types import ServedModel, Serving
from pillars.observability.metrics import SHADOW_QUESTIONS
from tenants.context import require_tenant, tenant_context
from tenants.selectors import TenantRef

log = structlog.get_logger("mapping.serving")
MOST_LABELS: Final = 5_000  # of one tenant and trial that are counted apart
_LINE: Final = 256
_RECENT: Final = 10_000
_AGAIN_SECONDS: Final = 600.0  # a label that has just been asked is not asked again
_LONGEST_REST_SECONDS: Final = 1.0
_DAYS_KEPT: Final = 90

# The count guards the table: two processes may pass it by one each.
_ADD: Final = """
INSERT INTO mapping_shadowanswer AS known
    (live, trial, detector, label, live_label, trial_label, asked, first_day, last_day)
SELECT %(live)s, %(trial)s, %(detector)s, %(label)s, %(live_label)s, %(trial_label)s, 1,
       %(day)s, %(day)s
WHERE (SELECT count(*) FROM mapping_shadowanswer WHERE trial = %(trial)s) < %(most)s
   OR EXISTS (SELECT 1 FROM mapping_shadowanswer WHERE trial = %(trial)s AND live = %(live)s
              AND detector = %(detector)s AND label = %(label)s)
ON CONFLICT (trial, live, detector, label) DO UPDATE SET
    live_label = excluded.live_label, trial_label = excluded.trial_label,
    asked = known.asked + 1, last_day = excluded.last_day
"""


class _Asked(NamedTuple):
    """One question, and what the live version has made of it."""

    tenant: TenantRef
    serial: int
    serving: Serving
    question: LabelQuestion
    live_label: str


class _Line:
    """The questions that wait, and the thread that asks them. One a process."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[_Asked] = queue.Queue(_LINE)
        self._recent: OrderedDict[tuple[str, str, LabelQuestion], float] = OrderedDict()
        self._lock = threading.Lock()
        self._process: int | None = None  # in which the thread runs: none survives a fork

    def put(self, asked: _Asked) -> None:
        """Never waits."""
        with self._lock:
            if not self._is_new(asked):
                return
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._work, name="shadow", daemon=True).start()
        try:
            self._waiting.put_nowait(asked)
        except queue.Full:
            SHADOW_QUESTIONS.labels("dropped").inc()

    def wait_until_done(self) -> None:
        """Return once all that wait are answered (for tests)."""
        self._waiting.join()

    def _is_new(self, asked: _Asked) -> bool:
        trial = asked.serving.trial
        key = (str(asked.tenant.id), trial.version if trial else "", asked.question)
        now = time.monotonic()
        if now - self._recent.get(key, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        self._recent[key] = now
        self._recent.move_to_end(key)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return True

    def _work(self) -> None:
        while True:
            asked = self._waiting.get()
            began = time.monotonic()
            try:
                outcome = _ask(asked)
            except DatabaseError:
                outcome = "failed"
            except Exception as error:  # noqa: BLE001 - the thread must go on; no text of it is kept
                log.error("shadow_failed", error_type=type(error).__name__)
                outcome = "failed"
            finally:
                connections.close_all()
                self._waiting.task_done()
            SHADOW_QUESTIONS.labels(outcome).inc()
            time.sleep(min(time.monotonic() - began, _LONGEST_REST_SECONDS))


_line = _Line()


def offer(
    tenant: TenantRef,
    serial: int,
    serving: Serving,
    by_arm: Mapping[ServedModel | None, Sequence[LabelQuestion]],
    verdicts: Mapping[LabelQuestion, Verdict],
) -> None:
    """Hand over what the live model itself has answered. Returns at once."""
    for question in by_arm.get(serving.live, ()):
        verdict = verdicts.get(question)
        if verdict is not None and verdict.method == "model":
            _line.put(_Asked(tenant, serial, serving, question, verdict.labels[0]))


def wait_until_done() -> None:
    """Return once all questions that this process holds are answered (for tests)."""
    _line.wait_until_done()


def forget_old_answers() -> int:
    """Delete what was last counted long ago, in the active tenant. Returns how much."""
    require_tenant()
    before = timezone.now().date() - timedelta(days=_DAYS_KEPT)
    return ShadowAnswer.objects.filter(last_day__lt=before).delete()[0]


def _ask(asked: _Asked) -> str:
    """What became of it: answered, or unanswered where the version on trial gave no answer."""
    trial = asked.serving.trial
    resolver = resolver_of(asked.serial, trial)
    if trial is None or resolver is None:
        return "unanswered"
    verdict = resolver.resolve([asked.question], salt=str(asked.tenant.id))[asked.question]
    if verdict.method != "model":
        return "unanswered"
    hash_text = hasher(asked.tenant)
    row: dict[str, str | int | date | None] = {
        "live": live_name(asked.serving),
        "trial": trial.version,
        "detector": safe_text(asked.question.detector, hash_text),
        "label": safe_text(asked.question.label, hash_text),
        "live_label": asked.live_label,
        "trial_label": verdict.labels[0],
        "day": timezone.now().date(),
        "most": MOST_LABELS,
    }
    with tenant_context(asked.tenant), connection.cursor() as cursor:
        cursor.execute(_ADD, row)
    return "answered"

"""Changed outputs through the services in process, and over HTTP: never a fault, always valid.

`python -m tests.fuzz` runs this with more of them.
"""

import itertools
import json
import math
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from mapping import services
from tests.conftest import DemoTenant
from tests.fuzz.checks import check_answer, check_problem
from tests.fuzz.mutate import Mutator, printed

pytestmark = pytest.mark.django_db
COUNT = int(os.environ.get("PILLARS_FUZZ_COUNT", "3000"))
HTTP = int(os.environ.get("PILLARS_FUZZ_HTTP", "1000"))
SEED = int(os.environ.get("PILLARS_FUZZ_SEED", "1"))
BATCH = 100
# Of the processor, for an item of 64 KiB, on a busy machine: against quadratic work.
MOST_SECONDS = 2.0
Send = Callable[..., Any]
Say = Callable[[str], None]


def test_every_output_is_answered_in_process(acme: DemoTenant, say: Say) -> None:
    origin = services.Origin(
        tenant=acme.tenant, api_key_id=uuid.uuid4(), request_id=str(uuid.uuid4())
    )
    services.map_items(
        origin=origin, items=[services.MapItem(detector="x", output="x")]
    )  # compiles
    times: list[float] = []
    decisions: Counter[str] = Counter()
    outputs = Mutator(SEED, as_json=False)
    for number, (detector, output) in enumerate(itertools.islice(outputs, COUNT)):
        items = [services.MapItem(detector=detector, output=output)]
        started = time.thread_time()
        (mapped,) = services.map_items(origin=origin, items=items)
        times.append(time.thread_time() - started)
        where = f"output {number} of seed {SEED} for {detector}"
        assert mapped.row["output_shape"]["type"] != "unreadable", where
        try:
            check_answer(orjson.loads(orjson.dumps(mapped.response, option=orjson.OPT_UTC_Z)))
        except (AssertionError, orjson.JSONEncodeError) as error:
            raise AssertionError(where) from error
        decisions[mapped.response["decision"]] += 1
    say(_report(times, decisions))
    assert max(times) < MOST_SECONDS


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Shows a text, if `python -m tests.fuzz` runs this."""

    def show(text: str) -> None:
        if "PILLARS_FUZZ_COUNT" in os.environ:
            with capsys.disabled():
                print(f"\n{text}")

    return show


def _report(times: list[float], decisions: Counter[str]) -> str:
    ordered = sorted(times)
    median = statistics.median(ordered)
    share = {
        f"p{percent}": ordered[math.ceil(len(ordered) * percent / 100) - 1] for percent in (90, 99)
    }
    share["max"] = ordered[-1]
    return f"{len(times)} outputs in process, {dict(decisions)}; median {median * 1e6:.0f} us, " + (
        ", ".join(f"{k} {v * 1e3:.2f} ms ({v / median:.0f} times)" for k, v in share.items())
    )


def test_every_output_is_answered_over_http(send_raw: Send, say: Say) -> None:
    statuses: Counter[int] = Counter()
    outputs = iter(Mutator(SEED + 1, as_json=True))
    sent = 0
    while sent < HTTP:
        bodies = [_body(*next(outputs)) for _ in range(BATCH)]
        clean = [body for body in bodies if _is_json(body)]
        singles = [body for body in bodies if body not in clean] + clean[:5]
        for body in singles:
            statuses[_check_single(send_raw(body))] += 1
        statuses[_check_batch(send_raw(_batch(clean), "/map/batch"), len(clean))] += 1
        sent += len(clean) + len(singles)
    say(f"{sent} outputs over HTTP, statuses of requests {dict(statuses)}")
    assert statuses[200] > 0


def _body(detector: str, output: Any) -> bytes:
    """As Python's own writer makes it: NaN, and half of a pair as an escape, among it."""
    try:
        text = json.dumps({"detector": detector, "output": output})
    except (TypeError, ValueError, RecursionError):
        text = json.dumps({"detector": detector, "output": printed(output)})
    return text.encode("utf-8", "surrogatepass")


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _batch(bodies: list[bytes]) -> bytes:
    return b'{"requests": [' + b",".join(bodies) + b"]}"


def _check_single(answer: Any) -> int:
    body = answer.json()
    if answer.status_code == 200:
        check_answer(body)
    else:
        assert answer.headers["Content-Type"] == "application/problem+json"
        check_problem(body, answer.status_code)
    return int(answer.status_code)


def _check_batch(answer: Any, items: int) -> int:
    body = answer.json()
    if answer.status_code != 200:  # one item nests deeper than JSON is read at all
        check_problem(body, answer.status_code)
        return int(answer.status_code)
    refused = {error["index"] for error in body["errors"]}
    assert len(body["results"]) == items
    for index, result in enumerate(body["results"]):
        assert (result is None) == (index in refused)
        if result is not None:
            check_answer(result)
    for error in body["errors"]:
        check_problem(error, error["status"])
    return 200

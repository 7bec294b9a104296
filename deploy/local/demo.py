"""The demonstration: real detector outputs, posted to `/map` as by a client, shown as a table."""

import hashlib
import http.client
import json
import time
from pathlib import Path
from typing import Any, Self

from deploy.local.console import table
from deploy.local.errors import StackError
from deploy.local.state import StateDir, read_json, write_private_json

HEADINGS = ("DETECTOR", "VENDOR'S LABEL", "CANONICAL LABEL", "CONFIDENCE", "CONTROLS")
_SHOWN_FINDINGS = 4
_SHOWN_CONTROLS = 2
_TRIES = 4
_PAUSE_SECONDS = 0.5


def raw_outputs(path: Path) -> list[dict[str, Any]]:
    """The requests in a JSON Lines file; StackError naming the line that is no object."""
    requests = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            request = json.loads(line)
        except ValueError as error:
            raise StackError(f"{path}, line {number}, is not JSON: {error}") from error
        requests.append(request)
    return requests


class Client:
    """A client of `/map` with one API key. Use as a context manager: it keeps its connection."""

    def __init__(self, port: int, api_key: str) -> None:
        self._port = port
        self._api_key = api_key
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    def map(self, request: dict[str, Any], idempotency_key: str) -> dict[str, Any]:
        """Post one raw output and return the event; StackError if it is not mapped.

        A broken connection is tried again: the idempotency key keeps the event from being doubled.
        """
        headers = {
            "Host": f"localhost:{self._port}",
            "Authorization": f"Bearer {self._api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key,
        }
        status, answer = self._post(json.dumps(request).encode(), headers)
        if status != 200:
            reason = answer.get("detail") or answer.get("title") or "no reason given"
            raise StackError(f"POST /map answered {status} for {request.get('detector')}: {reason}")
        return answer

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        tries_left = _TRIES
        while True:
            try:
                self._connection.request("POST", "/map", body, headers)
                response = self._connection.getresponse()
                return response.status, dict(json.loads(response.read()))
            except (OSError, ValueError, http.client.HTTPException) as error:
                self._connection.close()
                tries_left -= 1
                if not tries_left:
                    raise StackError(f"POST /map got no proper answer: {error}.") from error
                time.sleep(_PAUSE_SECONDS)


def idempotency_key(number: int, request: dict[str, Any]) -> str:
    """A key that comes from the content and its place in the file.

    So the same outputs are stored once, even if the demonstration is cut off and run again.
    """
    content = json.dumps([number, request], sort_keys=True).encode()
    return f"demo-{hashlib.sha256(content).hexdigest()[:40]}"


def rows_of(detector: str, event: dict[str, Any]) -> list[tuple[str, ...]]:
    """Table rows of one event: a row for each finding; the controls stand beside the first."""
    controls = shorten(event.get("controls", []))
    findings = event.get("findings", [])
    if not findings:
        label = ", ".join(event.get("taxonomy", []))
        return [(detector, "(nothing found)", label, f"{event.get('confidence', 0):.2f}", controls)]
    rows: list[tuple[str, ...]] = [
        (
            detector if number == 0 else "",
            finding.get("source_label") or "(text, kept as a hash)",
            finding["canonical"],
            f"{finding['confidence']:.2f}",
            controls if number == 0 else "",
        )
        for number, finding in enumerate(findings[:_SHOWN_FINDINGS])
    ]
    if len(findings) > _SHOWN_FINDINGS:
        rows.append(("", f"and {len(findings) - _SHOWN_FINDINGS} more", "", "", ""))
    return rows


def shorten(controls: list[str]) -> str:
    """`framework@edition:code` ids as codes: the first of two frameworks, and how many more."""
    first: dict[str, str] = {}
    for control in controls:
        framework, _, code = control.partition(":")
        first.setdefault(framework, code)
    shown = sorted(first.values(), key=len)[:_SHOWN_CONTROLS]  # short codes leave room
    more = len(controls) - len(shown)
    return " ".join([*shown, f"+{more}"] if more > 0 else shown) or "-"


class Demo:
    """The demonstration of one stack. Its result is kept: a second `up` posts nothing."""

    def __init__(self, state: StateDir, source: Path, *, database: str) -> None:
        """`database` names the database that the events are in: a new one needs a new run."""
        self._kept_in = state.path / "demo.json"
        self._source = source
        content = source.read_bytes() if source.exists() else b""
        self._stamp = hashlib.sha256(content + database.encode()).hexdigest()

    def kept(self) -> list[tuple[str, ...]]:
        """The rows of an earlier run with the same outputs; none if there was none."""
        document = read_json(self._kept_in)
        if document.get("stamp") != self._stamp:
            return []
        return [tuple(row) for row in document.get("rows", [])]

    def run(self, *, port: int, api_key: str) -> list[tuple[str, ...]]:
        """Post the outputs and keep the rows. They hold labels, never raw output."""
        rows: list[tuple[str, ...]] = []
        with Client(port, api_key) as client:
            for number, request in enumerate(raw_outputs(self._source)):
                event = client.map(request, idempotency_key(number, request))
                rows += rows_of(str(request.get("detector", "")), event)
        write_private_json(self._kept_in, {"stamp": self._stamp, "rows": rows})
        return rows


def lines(rows: list[tuple[str, ...]], *, columns: int) -> list[str]:
    """The table of `rows`, no wider than `columns`, under a line that says what it shows."""
    outputs = [row[0] for row in rows if row[0]]
    heading = f"{len(outputs)} raw outputs of {len(set(outputs))} detectors, mapped by POST /map:"
    return [heading, "", *table(HEADINGS, rows, columns=columns)]

"""The demonstration: real detector outputs, posted to `/map` as by a client, shown as a table."""

import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.local.console import table
from deploy.local.errors import StackError
from deploy.local.state import StateDir, read_json, write_private_json

HEADINGS = ("DETECTOR", "VENDOR'S LABEL", "CANONICAL LABEL", "CONFIDENCE", "CONTROLS")
_SHOWN_FINDINGS = 4
_SHOWN_CONTROLS = 3


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


def post_all(
    requests: list[dict[str, Any]], *, port: int, api_key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Post each request to `/map`; yields the detector and the mapped event.

    The idempotency key comes from the content, so that the same outputs are stored once, even if
    the demonstration was cut off and is run again.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for number, request in enumerate(requests):
            body = json.dumps(request, sort_keys=True).encode()
            digest = hashlib.sha256(b"%d:" % number + body).hexdigest()
            headers = {
                "Host": f"localhost:{port}",
                "Authorization": f"Bearer {api_key}",
                "Content-Type": "application/json",
                "Idempotency-Key": f"demo-{digest[:40]}",
            }
            connection.request("POST", "/map", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
            if response.status != 200:
                reason = answer.get("detail") or answer.get("title") or response.reason
                raise StackError(
                    f"POST /map answered {response.status} for {request.get('detector')}: {reason}"
                )
            yield str(request.get("detector", "")), answer
    finally:
        connection.close()


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
    """`framework@edition:code` ids as codes: one of each framework, and how many more there are."""
    first: dict[str, str] = {}
    for control in controls:
        framework, _, code = control.partition(":")
        first.setdefault(framework, code)
    shown = list(first.values())[:_SHOWN_CONTROLS]
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
        rows = [
            row
            for detector, event in post_all(raw_outputs(self._source), port=port, api_key=api_key)
            for row in rows_of(detector, event)
        ]
        write_private_json(self._kept_in, {"stamp": self._stamp, "rows": rows})
        return rows


def lines(rows: list[tuple[str, ...]], *, columns: int) -> list[str]:
    """The table of `rows`, no wider than `columns`."""
    return table(HEADINGS, rows, columns=columns)

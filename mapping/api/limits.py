"""Limits on one item: bytes and nesting."""

from typing import Any

import orjson
from django.conf import settings

from pillars.problems import Problem

LIMITS = settings.CONFIG.limits


def check_item(item: Any, *, raw: bytes | None = None) -> None:
    """Raise a Problem if an item is too large or too deep.

    `raw` is the item's JSON where the caller has it already (a single /map request).
    """
    if raw is None:
        raw = _as_json(item)
    if len(raw) > LIMITS.item_bytes:
        raise Problem("item_too_large", detail=f"One item may have {LIMITS.item_bytes} bytes.")
    # Nesting needs brackets: an item with few of them need not be walked.
    if raw.count(b"[") + raw.count(b"{") > LIMITS.nesting_depth and _deeper_than(
        item, LIMITS.nesting_depth
    ):
        raise _too_deep()


def _as_json(item: Any) -> bytes:
    try:
        return orjson.dumps(item)
    except orjson.JSONEncodeError:  # orjson reads 1,024 levels and writes 254
        raise _too_deep() from None


def _too_deep() -> Problem:
    return Problem("too_deep", detail=f"One item may nest {LIMITS.nesting_depth} levels of JSON.")


def _deeper_than(item: Any, levels: int) -> bool:
    layer = [item]
    for _ in range(levels):
        children: list[Any] = []
        for node in layer:
            if isinstance(node, dict):
                children.extend(node.values())
            elif isinstance(node, list):
                children.extend(node)
        layer = [child for child in children if isinstance(child, dict | list)]
        if not layer:
            return False
    return True

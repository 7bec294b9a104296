"""The JSON file of a report; its shape is in report.schema.json."""

from typing import Any

import orjson


def render_json(document: dict[str, Any]) -> bytes:
    """The document as indented JSON with sorted keys: equal documents give equal bytes."""
    return orjson.dumps(
        document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    )

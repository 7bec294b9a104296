"""The OpenAPI document: shared components, and every status that an operation can answer."""

import json
from functools import cache
from typing import Any, get_args

from django.conf import settings
from drf_spectacular.utils import OpenApiResponse

from pillars import problems
from pillars.config.schema import MappingMode

_REF = "#/components/schemas/"
MAPPING_EVENT = OpenApiResponse({"$ref": f"{_REF}MappingEvent"}, "The mapped event, as stored")
BATCH_RESPONSE = OpenApiResponse({"$ref": f"{_REF}BatchResponse"}, "Answers in order")
EVENT_PAGE = OpenApiResponse({"$ref": f"{_REF}EventPage"}, "A page of events")
VERSIONS = OpenApiResponse({"$ref": f"{_REF}Versions"}, "The versions in force")
PROBLEM_REF = {"$ref": f"{_REF}Problem"}
# What any operation behind an API key can answer besides its own statuses.
COMMON_STATUSES = (401, 403, 405, 406, 429, 500, 503)


def problem_responses(*statuses: int) -> dict[Any, OpenApiResponse]:
    """Problem responses with these statuses, plus the common ones."""
    return {
        (status, problems.CONTENT_TYPE): OpenApiResponse(PROBLEM_REF, _describe(status))
        for status in sorted({*statuses, *COMMON_STATUSES})
    }


def open_problem_responses() -> dict[Any, OpenApiResponse]:
    """What an operation without a key can answer besides its own statuses."""
    return {
        (status, problems.CONTENT_TYPE): OpenApiResponse(PROBLEM_REF, _describe(status))
        for status in (405, 406, 500)
    }


def _describe(status: int) -> str:
    codes = [code for code, kind in problems.TABLE.items() if kind.status == status]
    return f"Problem: {', '.join(codes)}"


@cache
def shipped_event_schema() -> dict[str, Any]:
    """The response schema that ships with the detectors: the one source for its shape."""
    path = settings.KNOWLEDGE_DIR / "schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def without_versioned_copies(endpoints: list[Any], **_kwargs: Any) -> list[Any]:
    """drf-spectacular hook: /api/v1/… is the same API again; the document names it as a server."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith("/api/v1/")]


def _nullable(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **more}


def _event_component() -> dict[str, Any]:
    string, time = {"type": "string"}, {"type": "string", "format": "date-time"}
    uuid = {"type": "string", "format": "uuid"}
    anything = {"type": "object", "additionalProperties": True}
    properties: dict[str, Any] = {
        "event_id": uuid, "received_at": time,
        "occurred_at": _nullable("string", format="date-time"),
        "detector": string, "detector_version": _nullable("string"), "vendor": _nullable("string"),
        "decision": string, "severity": string, "confidence": {"type": "number"},
        "taxonomy": {"type": "array", "items": string}, "scores": anything,
        "findings": {"type": "array", "items": anything}, "output_shape": anything,
        "environment": _nullable("string"),
        "expected_detectors": {"type": ["array", "null"], "items": string},
        "route": _nullable("string"), "raw_ref": _nullable("string"),
        "metadata": {"type": ["object", "null"], "additionalProperties": True},
        "request_id": string, "api_key_id": uuid,
        "version_info": anything,
        "migrated": {
            "type": ["object", "null"],
            "description": "The labels that it is shown with, if a migration plan carried it to "
            "another taxonomy edition; `taxonomy` stays what it was given",
            "required": ["taxonomy", "labels", "findings", "plan"],
            "properties": {
                "taxonomy": {"type": "string", "description": "Edition of `labels`"},
                "labels": {"type": "array", "items": string},
                "findings": {
                    "type": "array", "items": _nullable("string"),
                    "description": "The label of each of `findings`; null where it was retired",
                },
                "plan": {
                    "type": "object", "required": ["from", "to", "version"],
                    "properties": {"from": string, "to": string, "version": string},
                },
            },
        },
    }  # fmt: skip
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _versions_component() -> dict[str, Any]:
    by_name = {"type": "object", "additionalProperties": {"type": "string"}}
    properties: dict[str, Any] = {
        "release": {"type": "integer", "minimum": 1, "description": "Serial of the release"},
        "taxonomy": {"type": "string", "description": "Edition"},
        "frameworks": {**by_name, "description": "framework@edition to our file's version"},
        "crosswalks": {**by_name, "description": "framework@edition to the crosswalk's version"},
        "detectors": {**by_name, "description": "Detector to its file's version"},
        "model": _nullable("string", description="null while rules alone map"),
        "calibrator": _nullable("string"),
        "mode": {"enum": list(get_args(MappingMode)), "description": "Who maps"},
        "served": {
            "type": "object",
            "description": "Versions of the language model: `live` answers everybody, `trial` some "
            "beside it, `shadow` nobody",
            "properties": {one: _nullable("string") for one in ("live", "trial", "shadow")},
            "required": ["live", "trial", "shadow"],
            "additionalProperties": False,
        },
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def finish_schema(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """drf-spectacular hook: add the components that are not serializers."""
    components = result.setdefault("components", {}).setdefault("schemas", {})
    event = {
        k: v for k, v in shipped_event_schema().items() if k not in ("$schema", "$id", "$defs")
    }
    event = _point_to_components(event)
    for name, definition in shipped_event_schema().get("$defs", {}).items():
        components[f"MappingEvent_{name}"] = _point_to_components(definition)
    components["MappingEvent"] = event
    components["Problem"] = {
        "type": "object",
        "description": "RFC 9457 problem details",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": sorted(problems.TABLE)},
            "request_id": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
                },
            },
        },
    }
    components["Versions"] = _versions_component()
    components["BatchResponse"] = {
        "type": "object",
        "required": ["results", "errors"],
        "properties": {
            "results": {
                "type": "array",
                "items": {"oneOf": [{"$ref": f"{_REF}MappingEvent"}, {"type": "null"}]},
            },
            "errors": {
                "type": "array",
                "items": {
                    "allOf": [
                        PROBLEM_REF,
                        {
                            "type": "object",
                            "required": ["index"],
                            "properties": {"index": {"type": "integer", "minimum": 0}},
                        },
                    ]
                },
            },
        },
    }
    components["EventPage"] = {
        "type": "object",
        "required": ["next", "previous", "results"],
        "properties": {
            "next": _nullable("string", format="uri"),
            "previous": _nullable("string", format="uri"),
            "results": {"type": "array", "items": {"$ref": f"{_REF}Event"}},
        },
    }
    components["Event"] = _event_component()
    return result


def _point_to_components(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: value.replace("#/$defs/", f"{_REF}MappingEvent_")
            if key == "$ref" and isinstance(value, str)
            else _point_to_components(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_point_to_components(item) for item in node]
    return node

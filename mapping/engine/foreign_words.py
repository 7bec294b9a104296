"""What the members of outputs are usually called, and the words for verdicts and severities.

For detectors without a file: names that many tools share, none that belongs to one product.
"""

import re
from typing import Any, Final, Literal, TypeAlias

from mapping.engine.bare import looks_like_label
from mapping.engine.types import SEVERITY_RANK
from mapping.engine.values import number

Role: TypeAlias = Literal[
    "label", "weak label", "score", "good", "bad", "acted", "word", "severity", "threshold",
    "place", "content", "meta", "failure", "labels", "structure", "said", "other",
]  # fmt: skip

_BOUNDARY: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
_MAX_NAME: Final = 100

# Members that name a record's label, the surest first. The weak ones name many other things too:
# they count only in a record that has a verdict, a score, a severity or a place in the text, or
# that stands in a list of findings.
_LABELS: Final = (
    "entity_type", "entity_group", "best_label", "ner_label", "predicted_label", "predicted_class",
    "label", "label_name", "secret_type", "rule_id", "rule_name", "pattern_id", "test_id",
    "check_id", "detector_name", "detector_type", "guardrail_name", "scanner_name", "policy_name",
    "policy_id", "vulnerability_type", "violation_type", "threat_type", "attack_type",
    "finding_type", "issue_type", "pii_type", "info_type", "token_type", "risk_type", "harm_type",
    "category", "category_name", "harm_category", "hazard_category", "risk_category", "class_name",
    "class", "data_label", "entity_label", "metric_name", "entity",
)  # fmt: skip
_WEAK_LABELS: Final = (
    "detection", "scanner", "detector", "guardrail", "policy", "vulnerability", "violation",
    "threat", "attack", "hazard", "harm", "detection_type", "metric", "attribute", "topic", "rule",
    "title", "rule_title", "type", "name", "kind", "code", "id", "tag",
)  # fmt: skip
# Members of these names hold a label as often as they are one: `threat: phishing`, `threat: 0.9`.
_HARMS: Final = frozenset(
    ("threat", "attack", "violation", "hazard", "harm", "vulnerability", "risk", "harmful")
)
# These name the tool or the check as much as what it found: a group, if there are findings in it.
GROUPS: Final = frozenset(
    (
        "detector_name", "detector_type", "guardrail_name", "scanner_name", "policy_name",
        "policy_id", "metric_name",
    )
)  # fmt: skip
FIRST_WEAK: Final = len(_LABELS)
LABEL_ORDER: Final = {name: place for place, name in enumerate((*_LABELS, *_WEAK_LABELS))}

_SCORES: Final = frozenset(
    (
        "score", "confidence", "probability", "prob", "confidence_score", "risk_score", "value",
        "score_value", "likelihood_score", "summary_score", "probability_score", "detection_score",
        "certainty",
    )
)  # fmt: skip
_BAD: Final = frozenset(
    (
        "flagged", "detected", "triggered", "tripwire_triggered", "found", "matched", "violated",
        "violates", "violating", "violation", "is_violation", "unsafe", "is_unsafe", "malicious",
        "is_malicious", "harmful", "is_harmful", "insecure", "is_insecure", "positive", "fail",
        "failed", "is_flagged", "is_detected", "hit", "present",
    )
)  # fmt: skip
# What was done about a finding: where nothing was, there may be one all the same.
_ACTED: Final = frozenset(("filtered", "blocked", "is_blocked", "intervened", "denied", "rejected"))
_GOOD: Final = frozenset(
    (
        "passed", "pass", "safe", "is_safe", "valid", "is_valid", "allowed", "is_allowed", "clean",
        "is_clean", "benign", "is_benign", "compliant", "is_compliant", "validation_passed",
        "secure", "is_secure", "is_passed",
    )
)  # fmt: skip
_WORD_MEMBERS: Final = frozenset(
    (
        "verdict", "decision", "action", "result", "outcome", "judgement", "judgment", "safety",
        "status", "classification", "recommendation", "conclusion", "label_verdict",
        "final_verdict", "final_decision", "overall", "overall_verdict", "prediction",
        "resolution",
    )
)  # fmt: skip
_SEVERITIES: Final = frozenset(
    (
        "severity", "level", "risk_level", "risk", "priority", "severity_level", "issue_severity",
        "threat_level", "harm_level", "likelihood", "severity_label", "severity_score",
    )
)  # fmt: skip
_PLACES: Final = frozenset(
    (
        "start", "end", "begin", "offset", "begin_offset", "end_offset", "start_offset", "span",
        "location", "position", "line", "line_number", "start_index", "end_index", "word",
        "start_char", "end_char", "char", "codepoint_range", "byte_range",
    )
)  # fmt: skip
_CONTENT: Final = frozenset(
    (
        "text", "texts", "input", "inputs", "prompt", "prompts", "query", "question", "content",
        "contents", "word", "words", "match", "matched_text", "evidence", "snippet", "excerpt",
        "reason", "reasons", "reasoning", "rationale", "explanation", "description", "msg",
        "comment", "comments", "raw", "redacted", "sentence", "chunk", "secret", "original",
        "replacement", "url", "uri", "urls", "path", "file", "filename", "context", "quote",
        "highlight", "document", "masked", "obfuscated", "answer", "transcript", "title_text",
        "user_input", "model_output", "actual_output", "expected_output", "key",
    )
)  # fmt: skip
# Texts that a judge model wrote: read where they are a verdict or a structure, and nothing else.
_SAID: Final = frozenset(
    ("generated_text", "output", "response", "completion", "output_text", "body", "message")
)
_LABEL_LISTS: Final = frozenset(
    (
        "categories", "category", "labels", "label", "classes", "class", "violations", "flags",
        "hazards", "harms", "threats", "risks", "entities", "findings", "detections", "topics",
        "vulnerabilities", "techniques", "policies",
    )
)  # fmt: skip
_LABEL_MAPS: Final = _LABEL_LISTS | frozenset(
    (
        "scores", "score", "probabilities", "probs", "predictions", "results", "result", "matches",
        "issues", "alerts", "attributes", "scanners", "detectors", "checks", "metrics",
        "guardrails", "analysis", "moderation", "moderations", "assessments", "indexes", "details",
        "ratings",
    )
)  # fmt: skip
# Lists of what was looked for, not of what was found.
_ASKED: Final = frozenset(
    (
        "checked", "enabled", "disabled", "supported", "available", "allowed", "allow",
        "requested", "used", "all", "known", "configured", "applied", "ignored", "excluded",
        "expected", "possible", "valid", "skipped", "thresholds", "threshold", "descriptions",
        "default",
    )
)  # fmt: skip
_STRUCTURE: Final = frozenset(
    (
        "data", "output", "outputs", "response", "responses", "body", "payload", "choices",
        "message", "messages", "generations", "candidates", "info", "summary", "report", "items",
        "records", "hits", "alert", "event", "overall", "user", "assistant", "guardrail",
        "prediction", "source", "finding", "detection", "outcome", "pred", "annotations",
        "test_cases", "test_results", "request", "completion", "objects", "verdict", "metadata",
        "meta", "extra",
    )
)  # fmt: skip
_META: Final = frozenset(
    (
        "usage", "config", "configuration", "settings", "options", "parameters", "params",
        "headers", "thresholds", "environment", "env", "logprobs", "statistics", "stats", "timing",
        "tool_calls", "pagination", "links", "cost", "costs", "debug", "trace", "schema",
        "language", "languages", "languages_detected",
    )
)  # fmt: skip
# A word of these in the name of a number or a boolean: it measures or describes something else.
_META_WORDS: Final = frozenset(
    (
        "id", "ids", "uuid", "time", "timestamp", "date", "created", "updated", "at", "duration",
        "latency", "elapsed", "ms", "seconds", "count", "counts", "total", "num", "size", "length",
        "len", "index", "idx", "offset", "start", "end", "begin", "line", "column", "page",
        "position", "version", "model", "usage", "tokens", "cost", "price", "temperature", "seed",
        "threshold", "limit", "max", "min", "stream", "streaming", "cached", "cache", "final",
        "finished", "done", "complete", "completed", "truncated", "enabled", "disabled", "strict",
        "mode", "conversational", "verified", "public", "publicly", "multi", "debug", "dry",
        "retry", "async", "partial", "logged", "stored", "default", "required", "optional",
        "entropy", "distance", "weight", "weights", "percentage", "ratio", "annotation", "more",
        "next", "prev", "authenticated", "active", "primary", "bypassed", "parsing", "billed",
        "characters", "chars", "bytes", "timeout", "samples", "accuracy", "loss", "ready",
        "processed", "processing", "logprob", "perplexity", "input", "present", "ok",
    )
)  # fmt: skip

_SAFE_WORDS: Final = frozenset(
    (
        "safe", "benign", "clean", "pass", "passed", "ok", "allow", "allowed", "accept",
        "accepted", "approve", "approved", "permit", "permitted", "compliant", "unflagged",
        "unharmful", "harmless", "none", "no", "no findings", "no issues", "nothing found",
        "none found", "no issues found", "no violation", "no violations", "no threats",
        "no threat", "no threats detected", "no threat detected", "no risk", "not flagged",
        "not detected", "false positive", "nothing detected", "no action", "not harmful",
        "non toxic", "not toxic", "non malicious", "no pii", "no pii found", "no pii detected",
        "no secrets found", "no match", "no matches",
    )
)  # fmt: skip
_UNSAFE_WORDS: Final = frozenset(
    (
        "unsafe", "flagged", "flag", "block", "blocked", "deny", "denied", "reject", "rejected",
        "intervened", "violation", "violated", "violating", "detected", "malicious", "harmful",
        "fail", "failed", "filtered", "insecure", "quarantine", "quarantined",
    )
)  # fmt: skip
# As a whole text or as a label these say that something was found, not what.
_PLAIN_UNSAFE: Final = frozenset(("unsafe", "flagged", "blocked", "block", "denied", "rejected"))
# A whole text may say these; "none", "no" and "ok" may answer anything.
_NO_WHOLE_TEXT: Final = frozenset(("none", "no", "ok", "accept", "accepted", "approve", "approved"))
_SIGNS: Final = {"✅": "pass", "✓": "pass", "✔": "pass", "❌": "fail", "✗": "fail", "✘": "fail"}

_SEVERITY_WORDS: Final = {
    "none": "none", "safe": "none", "negligible": "none", "very low": "none", "no": "none",
    "info": "info", "informational": "info", "note": "info", "notice": "info",
    "low": "low", "minor": "low", "mild": "low",
    "medium": "medium", "moderate": "medium", "med": "medium", "warning": "medium",
    "warn": "medium",
    "high": "high", "major": "high", "severe": "high", "error": "high", "very high": "critical",
    "critical": "critical", "crit": "critical", "blocker": "critical", "fatal": "critical",
}  # fmt: skip

# A verdict even where a label belongs: `{"name": "violence", "label": "fail"}`.
_OUTCOMES: Final = frozenset(("pass", "passed", "fail", "failed", "flagged", "not flagged"))
_FOUND_WORDS: Final = frozenset(
    ("detected", "flagged", "violated", "matched", "triggered", "found", "blocked")
)
_NOT_DONE: Final = frozenset(
    ("error", "errored", "skipped", "timeout", "timed out", "cancelled", "canceled", "aborted")
)
_FINDINGS: Final = frozenset(
    (
        "findings", "detections", "entities", "violations", "issues", "alerts", "matches",
        "threats", "vulnerabilities", "secrets", "hazards", "categories", "labels",
    )
)  # fmt: skip

_NO_LABEL: Final = re.compile(
    r"""
      ^[-+]?\d[\d_.]*(?:e[-+]?\d+)?$|^0x|%[0-9a-f]{2}         # number, percent-encoding
    | ://|^www\.|^[/~.]|\\|;|==|\$\(|=                       # address, path, assignment
    | \w\((?!s\)|es\)|ies\))                                 # call of a function
    | \.(?:py|js|ts|json|ya?ml|txt|md|html?|csv|log|sh|env|exe|pdf|docx?|png|jpe?g)$  # file
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TAGGED: Final = re.compile(r"[BIESLU]-(?=[A-Z])")


def normal(name: str) -> str:
    """A member's name in one spelling: `confidenceScore`, `Confidence-Score`: confidence_score."""
    if len(name) > _MAX_NAME:
        return ""
    return _SEPARATORS.sub("_", _BOUNDARY.sub("_", name).lower()).strip("_")


def role_of(name: str) -> Role:
    """What a member of this name (in normal spelling) stands for in most tools."""
    found = _ROLES.get(name)
    if found is not None:
        return found
    words = name.split("_")
    last = words[-1]
    if not _ASKED.isdisjoint(words) and len(words) > 1:
        return "meta"
    if last in ("scores", "categories", "labels", "probabilities", "entities", "violations"):
        return "labels"
    if last in ("label", "category", "class") and len(words) > 1 and words[0] != "num":
        return "label"
    if last in ("reason", "text", "reasoning", "explanation", "description", "url", "path"):
        return "content"
    if last in ("results", "findings", "detections", "issues", "matches", "indexes", "risks"):
        return "labels"
    return "other"


def is_measure(name: str) -> bool:
    """Whether a number or boolean of this name (in normal spelling) describes something else."""
    return not _META_WORDS.isdisjoint(name.split("_"))


def lists_labels(name: str) -> bool:
    """Whether plain strings in a list of this name are labels that were found."""
    words = name.split("_")
    return words[-1] in _LABEL_LISTS and _ASKED.isdisjoint(words)


def maps_labels(name: str) -> bool:
    """Whether the keys of an object of this name are labels."""
    words = name.split("_")
    return words[-1] in _LABEL_MAPS and _ASKED.isdisjoint(words)


def is_label_name(name: str) -> bool:
    """Whether a member of this name holds a label: `rule`, `category`."""
    return name in LABEL_ORDER


def lists_findings(name: str) -> bool:
    """Whether what stands in a list of this name was found."""
    words = name.split("_")
    return words[-1] in _FINDINGS and _ASKED.isdisjoint(words)


def holds_found(name: str) -> bool:
    """Whether the keys or items under this name were found even in a record with a label."""
    words = name.split("_")
    last = words[-1]
    return _ASKED.isdisjoint(words) and (
        not _FOUND_WORDS.isdisjoint(words[:-1])
        or last in ("entities", "findings", "detections", "violations")
    )


def says_failed(name: str, value: Any) -> bool:
    """Whether a member says that the detector did not do its work: `status: skipped`."""
    if value is True:
        return name.rpartition("_")[2] in ("failed", "error", "errored", "timeout") and "_" in name
    return name.rpartition("_")[2] in ("status", "state") and _plain(value) in _NOT_DONE


def lists_scores(name: str) -> bool:
    """Whether numbers in a list of this name are scores."""
    last = name.rpartition("_")[2]
    return last in ("scores", "score", "probabilities", "probs", "confidences", "confidence")


def sums_up(name: str) -> bool:
    """Whether a boolean of this name says only that something was found: `pii_detected`."""
    last = name.rpartition("_")[2]
    return last in ("detected", "found", "flagged", "present", "triggered", "violated", "blocked")


def label_of(text: Any) -> str | None:
    """The text if it can be a label: no sentence, personal data, address, path or code."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    tag = _TAGGED.match(text)  # token classifiers: B-PERSON begins a PERSON, I-PERSON goes on
    if tag is not None:
        text = text[tag.end() :]
    # `O`: the token is outside of all entities.
    if (
        text == "O"
        or text.casefold() in ("unknown", "undefined")
        or not any(map(str.isalpha, text))
    ):
        return None
    return text if _NO_LABEL.search(text) is None and looks_like_label(text) else None


def plain(word: str) -> str:
    """A verdict in one spelling, made of ASCII letters and digits alone."""
    return _plain(word) or ""


def _plain(word: Any) -> str | None:
    if not isinstance(word, str) or len(word) > 40:
        return None
    word = word.strip()
    word = _SIGNS.get(word, word)
    return " ".join(normal(word.rstrip(".!")).split("_"))


def verdict_word(word: Any) -> bool | None:
    """True: something was found; False: nothing; None: the word is no verdict."""
    plain = _plain(word)
    if plain is None:
        return None
    last = plain.rpartition(" ")[2]
    if plain in _SAFE_WORDS:
        return False
    return True if plain in _UNSAFE_WORDS or last == "intervened" else None


def yes_or_no(word: Any) -> bool | None:
    """A boolean, also as a word."""
    if isinstance(word, bool):
        return word
    plain = _plain(word)
    return True if plain in ("true", "yes") else False if plain in ("false", "no") else None


def is_negative_label(text: str) -> bool:
    """Whether a label says that nothing was found: `safe`, `NON_TOXIC`.

    Not every label that begins with a negation does: `No Harassment` is the name of a policy.
    """
    return _plain(text) in _SAFE_WORDS


def is_outcome(word: Any) -> bool:
    """Whether a word is a verdict wherever it stands: `fail`, `flagged`."""
    return _plain(word) in _OUTCOMES


def is_plain_unsafe(text: Any) -> bool:
    """Whether a label or a whole text says that something was found, and not what."""
    return _plain(text) in _PLAIN_UNSAFE


def says_safe(text: str) -> bool:
    """Whether a whole text says that nothing was found."""
    plain = _plain(text)
    return plain in _SAFE_WORDS and plain not in _NO_WHOLE_TEXT


def says_little(text: str) -> bool:
    """Whether a whole text is a word that may answer anything: `no`, `ok`."""
    return _plain(text) in _NO_WHOLE_TEXT


def severity_rank(value: Any) -> int:
    """Rank of a severity by word, or by number as far as its scale is plain; -1: none stated.

    A fraction is on a scale up to 1, a number over 1 on one up to 10, with CVSS's steps. 1 may be
    on either. Numbers over 10 have no scale that could be guessed.
    """
    if isinstance(value, str):
        word = _SEVERITY_WORDS.get(_plain(value) or "")
        if word is not None:
            return SEVERITY_RANK[word]
    found = number(value)
    if found is None or not 0 <= found <= 10 or found == 1:
        return -1
    if found < 1:
        found *= 10
    steps = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"))
    if found == 0:
        return 0
    return next(
        (SEVERITY_RANK[name] for least, name in steps if found >= least), SEVERITY_RANK["low"]
    )


def _roles() -> dict[str, Role]:
    """Later groups win where a name stands in two."""
    groups: list[tuple[Role, frozenset[str] | tuple[str, ...]]] = [
        ("structure", _STRUCTURE),
        ("labels", _LABEL_MAPS),
        ("meta", _META),
        ("content", _CONTENT),
        ("place", _PLACES),
        ("said", _SAID),
        ("weak label", _WEAK_LABELS),
        ("label", _LABELS),
        ("score", _SCORES),
        ("severity", _SEVERITIES),
        ("word", _WORD_MEMBERS),
        ("bad", _BAD),
        ("acted", _ACTED),
        ("good", _GOOD),
        ("threshold", ("threshold", "cutoff", "cut_off")),
        ("failure", ("error", "errors", "exception", "error_message")),
    ]
    return {name: role for role, names in groups for name in names}


_ROLES: Final = _roles()


def leads_nowhere(name: str) -> bool:
    """Whether an object or list of this name holds content or settings, and no findings."""
    words = name.split("_")
    return (
        name in _CONTENT
        or name in _META
        or words[-1] in ("config", "settings", "thresholds", "parameters", "options")
        or (len(words) > 1 and not _ASKED.isdisjoint(words))
    )


def may_be_label(name: str) -> bool:
    """Whether a member of this name, with a score or a verdict, may be called by its label."""
    role = _ROLES.get(name, "other")
    return role in ("other", "labels", "structure") or name in _HARMS


def is_structure(name: str) -> bool:
    """Whether the name says nothing of what was found: `results`, `data`, `message`."""
    role = _ROLES.get(name, "other")
    return (
        role not in ("other", "weak label", "label")
        or name in _STRUCTURE
        or maps_labels(name)
        or name.rpartition("_")[2] in ("metadata", "info", "data", "result", "stats", "response")
    )

"""Badges: a word in a colour that repeats its meaning. The word alone says everything."""

from django.utils.html import format_html
from django.utils.safestring import SafeString

# Tone by value, for every state, decision and severity that the admin shows.
TONES = {
    "active": "good",
    "ok": "good",
    "decided": "good",
    "adopted": "good",
    "open": "wait",
    "dismissed": "quiet",
    "declined": "quiet",
    "safe": "good",
    "ready": "good",
    "done": "good",
    "approved": "good",
    "live": "good",
    "evaluated": "wait",
    "retired": "quiet",
    "published": "good",
    "submitted": "wait",
    "draft": "accent",
    "rolled_back": "bad",
    "withdrawn": "quiet",
    "mapped": "accent",
    "info": "accent",
    "pending": "wait",
    "provisioning": "wait",
    "running": "wait",
    "cancelling": "wait",
    "succeeded": "good",
    "refused": "bad",
    "lost": "bad",
    "cancelled": "quiet",
    "review": "wait",
    "low": "low",
    "medium": "wait",
    "fallback": "wait",
    "expired": "wait",
    "suspended": "wait",
    "high": "bad",
    "failed": "bad",
    "error": "bad",
    "revoked": "quiet",
    "deleted": "quiet",
    "critical": "worst",
}


def badge(text: str, tone: str = "quiet") -> SafeString:
    """A badge. `tone` is one of good, accent, low, wait, bad, worst, quiet."""
    return format_html('<span class="pl-badge pl-{}">{}</span>', tone, text)


def state_badge(value: str, text: str | None = None) -> SafeString:
    """A badge for a state, decision or severity."""
    return badge(text or value, TONES.get(value, "quiet"))

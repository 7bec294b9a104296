"""The trend as an SVG of stacked bars. Its title, the alternative text, carries the numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

# From light to dark by rising severity, so that it also reads in black and white.
BANDS = (
    ("Low and info", ("low", "info", "none"), "#9db4c8"),
    ("Medium", ("medium",), "#e0a13a"),
    ("High", ("high",), "#c2562b"),
    ("Critical", ("critical",), "#6d1b2b"),
)
_WIDTH, _HEIGHT = 680, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 6, 10, 24
_INK, _GRID = "#44546a", "#d9e0e8"
_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plot's geometry: how wide one bar's place is, and what its height stands for."""

    top: int  # value at the upper edge
    step: int
    slot: float

    def y(self, value: float) -> float:
        """Height of a value."""
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / self.top)


def trend_svg(trend: dict[str, Any]) -> str:
    """Bars of the events with evidence, by severity. Empty periods give an empty plot."""
    buckets = trend["buckets"]
    highest = max((_height(bucket) for bucket in buckets), default=0)
    step = _nice_step(highest)
    top = step * max(1, -(-highest // step))
    frame = _Frame(top, step, (_WIDTH - _LEFT - _RIGHT) / max(1, len(buckets)))
    parts = [*_axis(frame), *_dates(frame, buckets)]
    for number, bucket in enumerate(buckets):
        parts.extend(_bar(frame, number, bucket))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img">'
        f"<title>{escape(trend_text(trend))}</title>{''.join(parts)}</svg>"
    )


def trend_text(trend: dict[str, Any]) -> str:
    """The chart's numbers as a sentence."""
    heights = {bucket["first_day"]: _height(bucket) for bucket in trend["buckets"]}
    named = [f"{day}: {height}" for day, height in heights.items() if height]
    said = "; ".join(named) if named else "none in any"
    return f"Events with evidence by {trend['unit']} ({said}; every other {trend['unit']}: 0)."


def _height(bucket: dict[str, Any]) -> int:
    return sum(bucket["evidence_by_severity"].values())


def _nice_step(highest: int) -> int:
    """1, 2 or 5 times a power of ten, for at most five lines."""
    scale = 1
    while True:
        for step in _STEPS:
            if step * scale * 5 >= highest:
                return step * scale
        scale *= 10


def _axis(frame: _Frame) -> Iterator[str]:
    for value in range(0, frame.top + 1, frame.step):
        y = frame.y(value)
        colour = _INK if value == 0 else _GRID
        yield (
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" '
            f'stroke="{colour}" stroke-width="0.8"/>'
        )
        yield _text(_LEFT - 6, y + 3.2, f"{value:,}", "end")


def _dates(frame: _Frame, buckets: list[dict[str, Any]]) -> Iterator[str]:
    every = max(1, -(-len(buckets) // 8))
    for number in range(0, len(buckets), every):
        x = _LEFT + frame.slot * (number + 0.5)
        day = buckets[number]["first_day"]
        anchor = "start" if x < _LEFT + 24 else "end" if x > _WIDTH - 30 else "middle"
        yield _text(x if anchor == "middle" else x - 4, _HEIGHT - 8, day[2:], anchor)


def _bar(frame: _Frame, number: int, bucket: dict[str, Any]) -> Iterator[str]:
    width = max(1.0, min(34.0, frame.slot * 0.72))
    x = _LEFT + frame.slot * (number + 0.5) - width / 2
    below = 0
    for _, severities, colour in BANDS:
        events = sum(bucket["evidence_by_severity"][name] for name in severities)
        if events:
            upper, lower = frame.y(below + events), frame.y(below)
            yield (
                f'<rect x="{x:.1f}" y="{upper:.1f}" width="{width:.1f}" '
                f'height="{lower - upper:.1f}" fill="{colour}"/>'
            )
            below += events


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="9" '
        f'font-family="DejaVu Sans, sans-serif" fill="{_INK}">{escape(text)}</text>'
    )

"""How numbers are written in a report."""

from django import template

register = template.Library()


@register.filter
def thousands(value: int) -> str:
    """12,345"""
    return f"{value:,}"


@register.filter
def count(value: int) -> str:
    """12,345; a dash for none, so that a table shows where something is."""
    return f"{value:,}" if value else "\N{EN DASH}"


@register.filter
def environment(name: str) -> str:
    """An environment's name; events may come without one."""
    return "not stated" if name == "not_stated" else name


@register.filter
def minus(number: int, other: int) -> int:
    """The difference of two counts."""
    return number - other

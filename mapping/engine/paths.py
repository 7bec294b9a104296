"""A small path language over parsed output.

``$`` the value itself, ``a.b`` members, ``a."b.c"`` a member whose name has dots, ``a[]`` every
element of a list, ``a[1]`` one element, ``a.*`` every value of an object whose keys are data.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

MISSING: Final = object()
# The values found; None if the path does not exist, [] if it leads into an empty list or object.
Many: TypeAlias = Callable[[Any], list[Any] | None]
# The value found, or MISSING; a path through `[]` or `*` gives a list.
One: TypeAlias = Callable[[Any], Any]
# Member name, list index, dict for `*`, None for `[]`.
Step: TypeAlias = str | int | type[dict[Any, Any]] | None

_STEP = re.compile(r'\[(\d*)\]|\.?(?:(\*)|"([^"]+)"|([^.\[\]"*$]+))')


def _steps(path: str) -> list[Step]:
    if path == "$":
        return []
    steps: list[Step] = []
    position = 1 if path.startswith("$") else 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise ValueError(f"{path!r} is not a path: write a.b, a[], a[0], a.* or $")
        index, star, quoted, name = step.groups()
        if index is not None:
            steps.append(int(index) if index else None)
        else:
            steps.append(dict if star else quoted or name)
        position = step.end()
    if not steps:
        raise ValueError("a path may not be empty: write $ for the output itself")
    return steps


def _walk(values: list[Any], step: Step) -> list[Any] | None:
    found: list[Any] = []
    exists = False
    for value in values:
        if isinstance(step, str):
            if isinstance(value, dict) and step in value:
                found.append(value[step])
                exists = True
        elif step is dict:
            if isinstance(value, dict):
                found.extend(value.values())
                exists = True
        elif isinstance(value, list | tuple):
            if step is None:
                found.extend(value)
                exists = True
            elif isinstance(step, int) and step < len(value):
                found.append(value[step])
                exists = True
    return found if exists else None


def _many(path: str) -> Many:
    steps = _steps(path)
    if not steps:
        return lambda value: [value]

    def resolve(value: Any) -> list[Any] | None:
        values = [value]
        for step in steps:
            found = _walk(values, step)
            if not found:  # the path ends here: None if it is missing, [] if something is empty
                return found
            values = found
        return values

    return resolve


def _one(path: str) -> One:
    steps = _steps(path)
    if not steps:
        return lambda value: value
    if any(step is None or step is dict for step in steps):
        many = _many(path)

        def listed(value: Any) -> Any:
            values = many(value)
            return MISSING if values is None else values

        return listed
    if len(steps) == 1 and isinstance(steps[0], str):
        name = steps[0]
        return lambda value: value.get(name, MISSING) if isinstance(value, dict) else MISSING

    def member(value: Any) -> Any:
        for step in steps:
            if isinstance(step, str):
                value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
            elif isinstance(step, int) and isinstance(value, list | tuple) and step < len(value):
                value = value[step]
            else:
                return MISSING
        return value

    return member


def compile_many(path: str | Sequence[str]) -> Many:
    """All values at the first of the paths that exists. ValueError if a path is misspelt."""
    if isinstance(path, str):
        return _many(path)
    paths = [_many(one) for one in path]

    def first(value: Any) -> list[Any] | None:
        for resolve in paths:
            values = resolve(value)
            if values is not None:
                return values
        return None

    return first


def compile_one(path: str | Sequence[str]) -> One:
    """The value at the first of the paths that exists. ValueError if a path is misspelt."""
    if isinstance(path, str):
        return _one(path)
    paths = [_one(one) for one in path]

    def first(value: Any) -> Any:
        for resolve in paths:
            found = resolve(value)
            if found is not MISSING and found is not None:
                return found
        return MISSING

    return first

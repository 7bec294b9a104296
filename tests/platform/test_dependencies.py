"""Every dependency has its line of reason, a range, and a tested version."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
EXPLAINED = {
    canonicalize_name(name): reason.strip()
    for name, reason in re.findall(r"^\| ([A-Za-z0-9_.-]+) \| (.+) \|$", PAGE, re.MULTILINE)
    if name != "package"
}
SERVERS = [
    name
    for file in ("servers.txt", "model.txt")
    for name in re.findall(
        r"^([a-z0-9-]+)==", (ROOT / "deploy/local" / file).read_text(), re.MULTILINE
    )
]
# Any other spelling of torch brings a CUDA build of several gigabytes.
EXACT = {"torch"}


def test_the_page_explains_just_what_is_declared() -> None:
    declared = {canonicalize_name(one.name) for one in DECLARED} | set(SERVERS)
    assert set(EXPLAINED) == declared
    assert all(len(reason) > 4 for reason in EXPLAINED.values())


@pytest.mark.parametrize("one", DECLARED, ids=lambda one: one.name)
def test_each_has_a_lower_and_an_upper_bound(one: Requirement) -> None:
    operators = {specifier.operator for specifier in one.specifier}
    wanted = {"=="} if one.name in EXACT else {">=", "<"}
    assert operators >= wanted, f"{one.name}: give a range"


def test_the_tested_set_fits_the_ranges() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    tested = {canonicalize_name(name): version for name, version in pinned.items()}
    for one in DECLARED:
        version = tested[canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one.name} {version}"

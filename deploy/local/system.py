"""The few system packages that no wheel carries: pango for PDF reports, Chromium for browser tests.

Standard library only: `python3 deploy/local/system.py [test]` runs before anything is installed.
Nothing here is fatal: without pango all but PDF reports works, and `/health/ready` says so.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

_PANGO = ("libpango-1.0.so.0", "libpangoft2-1.0.so.0")
_PANGO_PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")
_FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
# Command that a package brings, for the tests.
_TEST_COMMANDS = {"chromium": "chromium", "pdftotext": "poppler-utils"}


def pango_loads() -> bool:
    """Whether the libraries that WeasyPrint needs can be loaded."""
    try:
        for library in _PANGO:
            ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_fonts() -> bool:
    """Whether any font is installed: text without one is a row of boxes."""
    return any(
        path.suffix in (".ttf", ".otf", ".ttc")
        for folder in _FONT_FOLDERS
        for path in folder.rglob("*")
    )


def missing_packages(*, for_tests: bool) -> list[str]:
    """Debian's names of what is missing for PDF reports, and for the tests if asked."""
    missing = [] if pango_loads() else [*_PANGO_PACKAGES]
    if not has_fonts():
        missing.append("fonts-dejavu-core")
    if for_tests:
        missing += [name for command, name in _TEST_COMMANDS.items() if not shutil.which(command)]
    return missing


def install(packages: list[str]) -> str:
    """Install Debian packages as root; returns what went wrong, or an empty string."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-qq", "-o", "DPkg::Lock::Timeout=120"]
    words = ["install", "-y", "--no-install-recommends", *packages]
    error = ""
    for command in (["apt-get", *options, "update"], ["apt-get", *options, *words]):
        result = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        # A failed update is no failure if the package lists at hand are good enough.
        error = "" if result.returncode == 0 else lines[-1]
    return error


def remedy(packages: list[str]) -> str:
    """The one command that a person has to run."""
    if shutil.which("apt-get"):
        return f"sudo apt-get install -y {' '.join(packages)}"
    return "your system's package manager (Fedora: dnf install pango; Arch: pacman -S pango)"


def ensure(*, for_tests: bool = False) -> str:
    """Install what is missing, if we may. One line to tell, or nothing if all is well."""
    packages = missing_packages(for_tests=for_tests)
    if not packages:
        return ""
    purpose = "PDF reports and the browser tests need" if for_tests else "PDF reports need"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"{purpose} system packages. The rest works. Install them with: {remedy(packages)}"
    problem = install(packages)
    if problem:
        return f"{purpose} {', '.join(packages)}, which could not be installed: {problem}"
    return f"Installed for PDF reports and tests: {', '.join(packages)}"


if __name__ == "__main__":
    line = ensure(for_tests="test" in sys.argv[1:])
    if line:
        print(line, flush=True)

"""`manage.py kill_switch`: stop the model at once, and let it map again."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from mapping.mode import ModeInForce, read_mode
from mapping.switch.models import ModeChoice
from mapping.switch.services import NothingToDoError, turn_kill_switch_off, turn_kill_switch_on

_VERBS: dict[str, Callable[..., ModeChoice]] = {
    "on": turn_kill_switch_on,
    "off": turn_kill_switch_off,
}


class Command(BaseCommand):
    """Thin caller of mapping.switch.services. Exit status 1: the database does not answer."""

    help = (
        "on: map by rules alone, in every running process within two seconds. "
        "off: go back to what was in force before. status: what is in force."
    )
    # In an incident nothing may stand in the way that is not needed.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=[*_VERBS, "status"])
        parser.add_argument(
            "--reason", default="", metavar="TEXT", help="why; it stays in the history"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            changed = self._turn(options["verb"], options["reason"])
            found = read_mode()
        except DatabaseError:
            raise CommandError(
                "The database does not answer: nothing was changed. Check DATABASE_URL, or set "
                "`mapping.mode: rules_only` and restart if there is no choice in the database."
            ) from None
        if options["json"]:
            self.stdout.write(json.dumps({"changed": changed, **_facts(found)}, indent=2))
            return
        for name, value in _facts(found).items():
            self.stdout.write(f"{name:<12} {_spoken(value)}")

    def _turn(self, verb: str, reason: str) -> bool:
        """Whether anything was changed. What is so already is no failure: it is what was wanted."""
        if verb not in _VERBS:
            return False
        try:
            _VERBS[verb](reason=reason, actor="system:kill_switch")
        except NothingToDoError as error:
            self.stderr.write(str(error))
            return False
        return True


def _facts(found: ModeInForce) -> dict[str, Any]:
    return {
        "kill_switch": found.kill_switch,
        "mode": found.mode,
        "source": found.source,
        "since": None if found.since is None else f"{found.since:%Y-%m-%dT%H:%M:%SZ}",
        "by": found.by,
        "reason": found.reason,
    }


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value or "-")

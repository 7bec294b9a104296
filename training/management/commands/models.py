"""`manage.py models`: the versions of models: list them, show one, verify its files."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from training.command import REFUSED, VersionCommand, facts_of
from training.errors import VersionError
from training.gating import files_problem, gates_of
from training.models import ModelVersion
from training.selectors import find_version


class Command(VersionCommand):
    """Reads alone. Exit status 3: the files are not the ones that were registered."""

    help = "list: every version. show NAME: one, with its gates now. verify NAME: its files."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("verb", choices=("list", "show", "verify"))
        parser.add_argument("version", nargs="?", help="such as mapper-lora@v1.2.3")

    def run(self, **options: Any) -> dict[str, Any]:
        if options["verb"] == "list":
            found = ModelVersion.objects.select_related("author")
            return {"versions": [_short(version) for version in found]}
        if options["version"] is None:
            raise VersionError(f"models {options['verb']}: name a version.")
        version = find_version(options["version"])
        if options["verb"] == "show":
            return _shown(version)
        problem = files_problem(version)
        if problem:
            raise CommandError(problem, returncode=REFUSED)
        return {"version": str(version), "files": len(version.manifest["files"]), "intact": True}

    def spoken(self, said: dict[str, Any]) -> str:
        if "versions" in said:
            lines = [
                f"{one['version']:<24} {one['state']:<10} {one['registered_by']:<16} {one['base']}"
                for one in said["versions"]
            ]
            return "\n".join(lines) or "There is no version."
        gates = [
            f"{'pass' if gate['passed'] else 'FAIL':<5} {gate['name']:<20} {gate['value']} "
            f"({gate['limit']}). {gate['text']}"
            for gate in said.get("gates", ())
        ]
        facts = {name: value for name, value in said.items() if not isinstance(value, list | dict)}
        return "\n".join([super().spoken(facts), *gates])


def _short(version: ModelVersion) -> dict[str, Any]:
    return {
        "version": str(version),
        "state": version.state,
        "base": version.base,
        "registered_by": version.author.username,
        "registered_at": f"{version.created_at:%Y-%m-%dT%H:%M:%SZ}",
    }


def _shown(version: ModelVersion) -> dict[str, Any]:
    facts = facts_of(version)
    del facts["changed"]
    steps = version.transitions.order_by("number")
    return {
        **facts,
        "gates": [gate.as_dict() for gate in gates_of(version, thorough=True)],
        "evaluation": version.evaluation,
        "history": [
            {
                "state": step.to_state,
                "at": f"{step.at:%Y-%m-%dT%H:%M:%SZ}",
                "by": step.actor,
                "reason": step.reason,
            }
            for step in steps
        ],
    }

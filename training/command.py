"""What the commands on versions share: who acts, how it is said, and exit statuses.

0: done, or so already. 1: the database does not answer. 3: refused. 4: blocked by gates.
"""

import json
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from access.users.models import User
from tenants.context import public_context
from training.errors import GatesError, NothingToDoError
from training.models import ModelVersion
from training.registry import RegistryError
from training.selectors import standing_approval

REFUSED: Final = 3
GATES: Final = 4


class VersionCommand(BaseCommand):
    """A thin caller of a service: `run` does it and returns what is printed."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with public_context():
                said = self.run(**options)
        except NothingToDoError as error:
            said = {"changed": False, "said": str(error)}
        except GatesError as error:
            if options["json"]:
                gates = [gate.as_dict() for gate in error.gates]
                self.stdout.write(json.dumps({"changed": False, "gates": gates}, indent=2))
            raise CommandError(str(error), returncode=GATES) from None
        except RegistryError as error:
            raise CommandError(str(error), returncode=REFUSED) from None
        except DatabaseError as error:
            raise CommandError(
                f"The database does not answer, or refused it ({type(error).__name__}): nothing "
                "was changed."
            ) from None
        self.stdout.write(json.dumps(said, indent=2) if options["json"] else self.spoken(said))

    def run(self, **options: Any) -> dict[str, Any]:
        """Do it. Raises RegistryError."""
        raise NotImplementedError

    def spoken(self, said: dict[str, Any]) -> str:
        """The same for people: a line for each fact."""
        return "\n".join(f"{name:<14} {_word(value)}" for name, value in said.items())


def person_named(name: str, permission: str) -> User:
    """Somebody of the platform who may do it. Raises CommandError."""
    found = User.objects.filter(username=name, is_active=True).first()
    if found is None:
        raise CommandError(f"Nobody of the platform is called {name!r}.", returncode=REFUSED)
    if not found.has_perm(f"training.{permission}_modelversion"):
        raise CommandError(
            f"{name} may not {permission.replace('_', ' ')} versions of models: give them the role "
            "for it in the admin.",
            returncode=REFUSED,
        )
    return found


def actor_of(name: str | None, permission: str, command: str) -> str:
    """Whom the history names: a person who may do it, or the command."""
    return f"system:{command}" if name is None else f"user:{person_named(name, permission)}"


def facts_of(version: ModelVersion) -> dict[str, Any]:
    """What a command says of a version it changed."""
    approval = standing_approval(version)
    return {
        "changed": True,
        "version": str(version),
        "state": version.state,
        "adapter": version.served,
        "sha256": version.adapter_sha256,
        "base": version.base,
        "data_set": version.data_set,
        "registered_by": version.author.username,
        "approved_by": None if approval is None else approval.person.username,
    }


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value if value not in (None, "") else "-")

"""`manage.py runs`: list training runs, show one, cancel one."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from tenants.context import public_context
from training.runs import services
from training.runs.errors import RunError
from training.runs.models import TrainingRun
from training.runs.selectors import find_run
from training.runs.showing import as_dict, progress, spoken

ACTOR = "system:runs"
REFUSED = 3
_LISTED = 20
_LINES = 15


class Command(BaseCommand):
    """Thin caller of training.runs. Exit status 3: refused; 1: the database does not answer."""

    help = "list: the newest training runs. show RUN: one, with its last lines. cancel RUN: stop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["list", "show", "cancel"])
        parser.add_argument("run", nargs="?", help="id of a run, or its last characters")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["run"] is None) != (options["verb"] == "list"):
            raise CommandError("list takes no run; show and cancel take one.", returncode=REFUSED)
        try:
            with public_context():
                self._handle(options["verb"], options["run"], as_json=options["json"])
        except RunError as error:
            raise CommandError(error.message, returncode=REFUSED) from None
        except DatabaseError as error:
            raise CommandError(
                f"The database does not answer ({type(error).__name__}). Check DATABASE_URL."
            ) from None

    def _handle(self, verb: str, name: str | None, *, as_json: bool) -> None:
        if name is None:
            self._list(as_json=as_json)
            return
        run = find_run(name)
        if verb == "cancel":
            run = services.request_cancel(run_id=run.id, actor=ACTOR)
            self.stderr.write(run.message or "It saves a checkpoint, then it stops.")
        if as_json:
            self.stdout.write(json.dumps(as_dict(run), indent=2))
        elif verb == "show":
            self._show(run)

    def _list(self, *, as_json: bool) -> None:
        found = list(TrainingRun.objects.all()[:_LISTED])
        if as_json:
            self.stdout.write(json.dumps([as_dict(run) for run in found], indent=2))
            return
        if not found:
            self.stdout.write("There are no runs yet. Start one: manage.py train")
        for run in found:
            best = "" if run.best_accuracy is None else f"best {run.best_accuracy:.1%}"
            self.stdout.write(
                f"{run.short}  {run.created_at:%Y-%m-%d %H:%M}  {run.state:<10}  "
                f"{run.profile:<12}  {progress(run):<22}  {best}".rstrip()
            )

    def _show(self, run: TrainingRun) -> None:
        for name, value in as_dict(run).items():
            if value not in (None, "", {}):
                self.stdout.write(f"{name:<18} {value}")
        if told := spoken(run):
            self.stdout.write(f"{'now':<18} {told}")
        for line in reversed(run.lines.order_by("-number")[:_LINES]):
            self.stdout.write(f"  {line.at:%H:%M:%S}  {line.text}")

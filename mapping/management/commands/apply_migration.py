"""`manage.py apply_migration`: carry stored data from one taxonomy edition to another."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mapping import editions
from mapping.errors import MigrationError
from mapping.models import Direction, MigrationRun
from mapping.tallies import Tally
from pillars import queue
from taxonomy.detector_files import migrate_detector_files
from taxonomy.errors import KnowledgeFileError, NoPlanError
from tenants.context import public_context, tenant_context
from tenants.selectors import TenantRef, active_tenants

ACTOR = "system:apply_migration"


class Command(BaseCommand):
    """Thin caller of mapping.editions.

    Exit status 1: refused, or counts that do not balance; 2: the database was lost. What was done
    before stays done. A run that was interrupted (Ctrl-C, a killed process) goes on when the
    command is given again.
    """

    help = (
        "Carry detector files and tenants' events from one taxonomy edition to another. Events "
        "keep the labels that they were given and are shown with the migrated ones."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("old", metavar="FROM", help="the old edition, such as 2025.09")
        parser.add_argument("new", metavar="TO", help="the new edition, such as 2026.11")
        parser.add_argument("--tenant", action="append", default=[], metavar="SLUG")
        parser.add_argument("--all-tenants", action="store_true", help="one after the other")
        parser.add_argument("--detector-files", type=Path, metavar="DIR", help="folder of *.yaml")
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--dry-run", action="store_true", help="count, change nothing")
        action.add_argument("--verify", action="store_true", help="compare with the events anew")
        action.add_argument("--background", action="store_true", help="let the workers do it")
        parser.add_argument("--invert", action="store_true", help="take it back")
        parser.add_argument(
            "--batch-size", type=_batch_size, default=editions.BATCH, help="rows a transaction"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            failures = self._carry(options)
        except NoPlanError as error:
            raise CommandError(str(error)) from None
        except KnowledgeFileError as error:
            raise CommandError(f"No detector file was changed.\n{error}") from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted. The same command goes on from here.") from None
        except DatabaseError:
            raise CommandError(
                "The database was lost. When it is back, the same command goes on from here.",
                returncode=2,
            ) from None
        if failures:
            raise CommandError("\n".join(failures))

    def _carry(self, options: dict[str, Any]) -> list[str]:
        """Files, then tenant by tenant: one that is refused does not hold the others back."""
        tenants = self._tenants(options)
        if not tenants and options["detector_files"] is None:
            raise CommandError("Name --tenant SLUG, --all-tenants or --detector-files DIR.")
        report: dict[str, Any] = {"tenants": {}}
        failures: list[str] = []
        if options["detector_files"] is not None:
            report["detector_files"] = self._detector_files(options)
        for tenant in tenants:
            try:
                with tenant_context(tenant):
                    found = self._tenant(tenant, options)
            except MigrationError as error:
                failures.append(f"{tenant.slug}: {error}")
                found = {"problems": [str(error)]}
            else:
                if found.get("problems"):
                    failures.append(f"{tenant.slug}: the counts do not balance.")
            report["tenants"][tenant.slug] = found
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
        return failures

    def _tenants(self, options: dict[str, Any]) -> list[TenantRef]:
        with public_context():
            active = {tenant.slug: TenantRef.of(tenant) for tenant in active_tenants()}
        if options["all_tenants"]:
            if options["tenant"]:
                raise CommandError("Give --tenant or --all-tenants, not both.")
            return list(active.values())
        unknown = [slug for slug in options["tenant"] if slug not in active]
        if unknown:
            raise CommandError(
                f"No active tenant is called {', '.join(unknown)}. `manage.py tenant list` shows "
                "them all."
            )
        return [active[slug] for slug in dict.fromkeys(options["tenant"])]

    def _detector_files(self, options: dict[str, Any]) -> list[str]:
        if options["invert"]:
            raise CommandError("Detector files are taken back by your version control.")
        with public_context():
            changed = migrate_detector_files(
                directory=options["detector_files"], old=options["old"], new=options["new"],
                write=not (options["dry_run"] or options["verify"]),
            )  # fmt: skip
        if not options["json"]:
            for change in changed:
                self.stdout.write(str(change))
        return [str(change) for change in changed]

    def _tenant(self, tenant: TenantRef, options: dict[str, Any]) -> dict[str, Any]:
        direction = Direction.INVERT if options["invert"] else Direction.APPLY
        plan = {"old": options["old"], "new": options["new"]}
        total = editions.number_of_events()
        if options["dry_run"]:
            with _bar(f"{tenant.slug} counting", total, self._console(options)) as bar:
                seen = editions.preview(**plan, direction=direction, after_batch=bar.advance)
            self._report(tenant, "would be shown", seen.tally, seen.problems, options)
            self._losses(seen.lossy, options)
            return seen.as_dict()
        if options["background"]:
            return self._hand_over(tenant, direction, options)
        if not options["verify"]:
            run = editions.start_run(
                **plan, direction=direction, actor=ACTOR, batch_size=options["batch_size"]
            )
            with _bar(f"{tenant.slug} carrying", total, self._console(options)) as bar:
                bar.show(run)
                editions.carry_on(run_id=run.pk, after_batch=bar.show)
        with _bar(f"{tenant.slug} verifying", total, self._console(options)) as bar:
            result = editions.verify(**plan, after_batch=bar.advance)
        self._report(tenant, "are shown", result.tally, result.problems, options)
        return result.as_dict()

    def _hand_over(
        self, tenant: TenantRef, direction: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the workers do it; the sweep sends it again if the broker is away."""
        run = editions.start_run(
            old=options["old"], new=options["new"], direction=direction, actor=ACTOR,
            batch_size=options["batch_size"], background=True,
        )  # fmt: skip
        queue.dispatch("mapping.migrate_tenant", tenant_id=str(tenant.id), run_id=str(run.pk))
        self._say(options, f"{tenant.slug}: the workers do it. --verify says when it is done.")
        return {"run": str(run.pk), "background": True}

    def _console(self, options: dict[str, Any]) -> Console | None:
        """Where bars are drawn: standard error, if it is a terminal."""
        console = Console(stderr=True)
        return console if console.is_terminal and not options["json"] else None

    def _report(
        self, tenant: TenantRef, verb: str, tally: Tally, problems: Any, options: dict[str, Any]
    ) -> None:
        source, target = options["old"], options["new"]
        if options["invert"]:
            source, target = target, source
        self._say(
            options,
            f"{tenant.slug}: {tally.events:,} events of {source} {verb} with labels of {target}; "
            f"{tally.lossy:,} of them cannot be told back by the label alone",
        )
        width = max((len(label) for label in tally.before), default=0)
        for label, targets in sorted(tally.flow.items()):
            if set(targets) != {label}:
                into = ", ".join(f"{to or 'retired'} {count:,}" for to, count in targets.items())
                self._say(options, f"  {label:<{width}} {tally.before[label]:>11,}  ->  {into}")
        same = [label for label, targets in tally.flow.items() if set(targets) == {label}]
        if same:
            events = sum(tally.before[label] for label in same)
            self._say(options, f"  {len(same)} labels keep their names ({events:,} findings)")
        for label, events in sorted(tally.unplanned.items()):
            self._say(options, f"  {label}: not in the plan, kept in {events:,} events")
        for problem in problems:
            self._say(options, f"  PROBLEM: {problem}")
        if not problems:
            self._say(options, "  the counts balance")

    def _losses(self, losses: tuple[str, ...], options: dict[str, Any]) -> None:
        for loss in losses:
            self._say(options, f"  way back: {loss}")

    def _say(self, options: dict[str, Any], text: str) -> None:
        if not options["json"]:
            self.stdout.write(text)


def _batch_size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= 100_000):
        raise ArgumentTypeError("give a whole number from 1 to 100000")
    return int(text)


class _Bar:
    """Draws how far a tenant's events are, with rate and time left."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total, rate="")

    def advance(self, events: int) -> None:
        """So many more were looked at."""
        self._update(advance=events)

    def show(self, run: MigrationRun) -> None:
        """The run stands here; events may have come in since it began."""
        self._update(completed=run.rows_seen, total=max(run.rows_total, run.rows_seen))

    def _update(self, **values: Any) -> None:
        speed = self._progress.tasks[self._task].speed
        rate = f"{speed:,.0f} events/s" if speed else ""
        self._progress.update(self._task, rate=rate, **values)


@contextmanager
def _bar(title: str, total: int, console: Console | None) -> Iterator[_Bar]:
    """A progress bar; without a console nothing is drawn."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=console is None) as progress:
        yield _Bar(progress, title, total)

"""`manage.py trial`: let a version of the model answer some beside the live one, and end that."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mapping.resolver.calibrate import CalibratorError
from mapping.serving.comparison import Comparison, compare
from mapping.serving.deploy import DeployError, load
from mapping.serving.errors import NothingToDoError, ServingError
from mapping.serving.in_force import live_name, read_serving
from mapping.serving.services import change_trial, end_trial, start_trial
from mapping.serving.types import ServedModel, ServedModelError
from mapping.worker.weights import WeightsError, adapter_in
from tenants.context import public_context
from tenants.models import Tenant

_ACTOR = "system:trial"


class Command(BaseCommand):
    """Thin caller of mapping.serving. Exit status 1: it cannot be done, and why."""

    help = (
        "start: load a version and let it answer tenants, a share of labels, or nobody (shadow). "
        "change: let it answer others. end: the live version answers everybody. "
        "status: what is on trial, and how it compares."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["start", "change", "end", "status"])
        parser.add_argument(
            "folder", nargs="?", type=Path, help="start: the version's folder (adapter, calibrator)"
        )
        parser.add_argument("--name", help="the version's; else as manifest.json says")
        parser.add_argument("--tenant", action="append", metavar="SLUG", help="once for each")
        parser.add_argument("--share", type=float, help="of the labels, 0 to 1")
        shadow = parser.add_mutually_exclusive_group()
        shadow.add_argument("--shadow", action="store_true", default=None)
        shadow.add_argument("--no-shadow", dest="shadow", action="store_false")
        parser.add_argument("--reason", default="", metavar="TEXT", help="it stays in the history")
        parser.add_argument("--json", action="store_true", help="status: print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._do(options)
        except NothingToDoError as error:
            self.stderr.write(str(error))
        except (ServingError, DeployError, ServedModelError, CalibratorError) as error:
            raise CommandError(str(error)) from None

    def _do(self, options: dict[str, Any]) -> None:
        verb, reason = options["verb"], options["reason"]
        if verb == "start":
            self._start(options)
        elif verb == "change":
            change_trial(
                tenants=None if options["tenant"] is None else _tenants(options["tenant"]),
                share=options["share"], shadow=options["shadow"], reason=reason, actor=_ACTOR,
            )  # fmt: skip
        elif verb == "end":
            end_trial(reason=reason, actor=_ACTOR)
        self._status(as_json=options["json"])

    def _start(self, options: dict[str, Any]) -> None:
        folder: Path | None = options["folder"]
        if folder is None:
            raise CommandError("Name the version's folder: manage.py trial start FOLDER.")
        tenants = _tenants(options["tenant"] or [])
        model = _model_in(folder, options["name"])
        load(name=model.adapter, folder=folder)
        start_trial(
            model=model, tenants=tenants, share=options["share"] or 0.0,
            shadow=bool(options["shadow"]), reason=options["reason"], actor=_ACTOR,
        )  # fmt: skip

    def _status(self, *, as_json: bool) -> None:
        serving, found = read_serving(), compare()
        facts: dict[str, Any] = {
            "live": live_name(serving),
            "trial": serving.trial.version if serving.trial else None,
            "tenants": len(serving.trial_tenants),
            "share": serving.trial_share,
            "shadow": serving.shadow,
            **(_numbers(found) if found else {}),
        }
        if as_json:
            self.stdout.write(json.dumps(facts, indent=2))
            return
        for name, value in facts.items():
            shown = json.dumps(value) if isinstance(value, dict) else value
            self.stdout.write(f"{name:<12} {'-' if shown is None else shown}")


def _tenants(slugs: list[str]) -> list[Any]:
    with public_context():
        found = dict(Tenant.objects.filter(slug__in=slugs).values_list("slug", "pk"))
    missing = sorted(set(slugs) - found.keys())
    if missing:
        raise CommandError(f"There is no tenant {', '.join(missing)}.")
    return list(found.values())


def _model_in(folder: Path, name: str | None) -> ServedModel:
    """A version as the registry keeps it: adapter, calibrator.json, manifest.json."""
    try:
        adapter = adapter_in(folder)
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
        calibrator = json.loads((folder / "calibrator.json").read_text("utf-8"))
        base = manifest["base"]
        document = {
            "version": name or f"{manifest['name']}@v{manifest['version']}",
            "adapter": adapter.name,
            "adapter_sha256": adapter.sha256,
            "base": base["name"],
            "base_sha256": base["sha256"],
            "calibrator": calibrator,
        }
    except WeightsError as error:
        raise CommandError(str(error)) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise CommandError(
            f"{folder} holds no version: manifest.json and calibrator.json must be there as "
            "training writes them."
        ) from None
    return ServedModel.of(document)


def _numbers(found: Comparison) -> dict[str, Any]:
    def of(arm: Any) -> dict[str, int]:
        names = ("questions", "labels", "accepted", "fallback", "decided", "right")
        return {name: getattr(arm, name) for name in names}

    pairs = found.pairs
    tests = {**found.tests(), "pairs": pairs.test}
    return {
        "since": f"{found.since:%Y-%m-%dT%H:%M:%SZ}",
        "of_live": of(found.live),
        "of_trial": of(found.trial),
        "pairs": {
            "labels": pairs.labels, "agreed": pairs.agreed, "decided": pairs.decided,
            "only_live": pairs.only_live, "only_trial": pairs.only_trial,
        },
        "tests": {
            name: None if one is None else {"test": one.test, "p": round(one.p, 6)}
            for name, one in tests.items()
        },
    }  # fmt: skip

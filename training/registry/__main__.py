"""``python -m training.registry STEP``: package, verify.

package RUN: make a version of a training run's adapter. RUN holds adapter/ and run.json.
verify FOLDER: check every file of a version.
"""

import argparse
import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any, Final

from mapping.resolver.calibrate import Calibrator, CalibratorError
from mapping.worker.weights import WeightsError, base_in
from training.registry.adapter import read_object, shapes_in
from training.registry.errors import RegistryError
from training.registry.names import DEFAULT_NAME, ModelName, next_version
from training.registry.package import Base, Ingredients, ModelPackage, build, read, versions_in

_REFUSED: Final = 3
_PACKAGES: Final = ("accelerate", "numpy", "peft", "safetensors", "torch", "transformers")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the step. The exit status: 0 done, 3 refused."""
    parser = argparse.ArgumentParser(prog="python -m training.registry", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    package = steps.add_parser("package", help="make a version of a training run's adapter")
    package.add_argument("run", type=Path, help="folder with adapter/ and run.json")
    package.add_argument("--models", type=Path, required=True, help="folder of all versions")
    package.add_argument("--base", type=Path, required=True, help="folder of the base model")
    package.add_argument("--calibrator", type=Path, required=True)
    package.add_argument("--evaluation", type=Path, help="evaluation.json; without one: a draft")
    package.add_argument("--name", default=DEFAULT_NAME)
    package.add_argument("--version", help="1.2.3; without it, the next one")
    package.add_argument("--part", choices=("major", "minor", "patch"), default="minor")
    package.add_argument("--data-set", help="digest, if run.json does not say it")
    package.add_argument("--license", default="apache-2.0")
    verify = steps.add_parser("verify", help="check every file of a version")
    verify.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        made = _package(options) if options.step == "package" else read(options.folder)
    except (RegistryError, CalibratorError, WeightsError) as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    sys.stdout.write(f"{made.name} {made.adapter.sha256} {made.folder}\n")
    return 0


def environment() -> dict[str, Any]:
    """What a version is made with: Python, platform, packages. Nothing of the machine itself."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": packages,
    }


def _package(options: argparse.Namespace) -> ModelPackage:
    run = read_object(options.run / "run.json")
    calibrator = Calibrator.load(options.calibrator)
    base = base_in(options.base)
    if calibrator.identity is None:
        raise RegistryError(
            f"{options.calibrator.name} was fitted for no language model. Fit one with "
            "`python -m training.calibration` for this adapter."
        )
    data_set = options.data_set or run.get("data_set")
    if not isinstance(data_set, str):
        raise RegistryError("run.json does not say its data set. Name its digest: --data-set.")
    return build(
        Ingredients(
            adapter=options.run / "adapter",
            calibrator=options.calibrator,
            training=options.run / "run.json",
            evaluation=options.evaluation,
            environment=_environment_of(run),
            base=Base(base.name, base.sha256),
            data_set=data_set,
            prompt=calibrator.identity.prompt,
            edition=calibrator.edition,
            encoder=calibrator.encoder,
            shapes=shapes_in(base.folder),
            license_id=options.license,
        ),
        _name(options),
        options.models,
    )


def _environment_of(run: dict[str, Any]) -> dict[str, Any]:
    """Of the run, which may have been made elsewhere; else of this process."""
    told = run.get("environment")
    return dict(told) if isinstance(told, dict) and told else environment()


def _name(options: argparse.Namespace) -> ModelName:
    if options.version:
        return ModelName.parse(f"{options.name}@v{options.version.removeprefix('v')}")
    ModelName.parse(f"{options.name}@v0.0.0")
    return next_version(versions_in(options.models), options.name, options.part)


if __name__ == "__main__":
    sys.exit(main())

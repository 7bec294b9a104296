"""The model's server that versions are put on: as `inference` of pillars.yaml names it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Final

from mapping.chooser import inference_options
from mapping.inference import HttpChooser
from mapping.resolver.types import Choice, ChooserError, LabelQuestion, Option
from mapping.serving import deploy
from mapping.serving.types import ServedModel
from training.registry import RegistryError
from training.registry.deploy import Deployer, DeployError
from training.selectors import find_version, served_model

# Two questions with an obvious answer: that it is right is the evaluation's matter, not asked here.
_QUESTIONS: Final = tuple(
    (LabelQuestion("parity", label), (Option("A", "email address"), Option("B", "hate speech")))
    for label in ("EMAIL_ADDRESS", "hate")
)
_SECONDS: Final = 10.0
_SAME: Final = 0.05  # of log-probabilities: servers that batch do not repeat to the last bit


class ModelServer:
    """Our own worker, or vLLM. See Deployer."""

    def deploy(self, version_folder: Path, name: str) -> None:
        """Copy it to where the server reads, and load it there."""
        try:
            deploy.load(name=name, folder=version_folder)
        except deploy.DeployError as error:
            raise DeployError(str(error)) from error

    def undeploy(self, name: str) -> None:
        """Take it away; its files stay where the server reads."""
        try:
            deploy.unload(name=name)
        except deploy.DeployError as error:
            raise DeployError(str(error)) from error

    def parity(self, name: str) -> None:
        """It is offered with the weights that were registered, is what its calibrator was fitted
        for, and answers questions with probabilities, twice the same.
        """
        model = served_model_of(name)
        self._check_offered(model)
        options = inference_options(model)
        assert options is not None and model.calibrator is not None  # noqa: S101, PT018
        chooser = HttpChooser(replace(options, timeout_seconds=_SECONDS))
        try:
            first, again = (chooser.choose(_QUESTIONS, salt="parity") for _ in range(2))
            identity = chooser.identity
        except ChooserError as error:
            raise DeployError(f"{name} is loaded, and does not answer: {error}") from error
        finally:
            chooser.close()
        if identity != model.calibrator.identity:
            raise DeployError(
                f"The server serves {name} otherwise than its calibrator was fitted for "
                "(models, digests, or what its log-probabilities stand for)."
            )
        if not all(_sound(one) and _alike(one, two) for one, two in zip(first, again, strict=True)):
            raise DeployError(f"{name} answers with no probabilities, or not twice the same.")

    def _check_offered(self, model: ServedModel) -> None:
        try:
            offered = {one.name: one for one in deploy.loaded()}.get(model.adapter)
        except deploy.DeployError as error:
            raise DeployError(str(error)) from error
        if offered is None:
            raise DeployError(f"The server has not loaded {model.adapter}.")
        if offered.sha256 not in ("", model.adapter_sha256):
            raise DeployError(
                f"The server offers other weights under the name {model.adapter}. Give the next "
                "version."
            )


def deployer_of_settings() -> Deployer:
    """Of the configured server; whether it can load versions is said when it is asked to."""
    return ModelServer()


def served_model_of(name: str) -> ServedModel:
    """A registered version by its name on servers. Raises DeployError."""
    try:
        return served_model(find_version(name))
    except RegistryError as error:
        raise DeployError(str(error)) from error


def _sound(choice: Choice) -> bool:
    numbers = list(choice.log_probs.values())
    return (
        len(numbers) == 2
        and all(map(math.isfinite, numbers))
        and abs(sum(map(math.exp, numbers)) - 1) < _SAME
        and 0 < choice.mass <= 1 + _SAME
    )


def _alike(one: Choice, two: Choice) -> bool:
    return all(abs(value - two.log_probs[name]) < _SAME for name, value in one.log_probs.items())

"""Whether a version's calibrator fits what it would be served with."""

from django.conf import settings

from mapping.resolver.calibrate import month_of
from mapping.resolver.prompt import prompt_version
from mapping.resolvers import encoder_digest
from mapping.serving.errors import ServingError
from mapping.serving.types import ServedModel
from taxonomy.selectors import current_release

_REMEDY = "Its confidences would mean nothing. Fit one with `python -m training.calibration`."


def check_fits(model: ServedModel) -> None:
    """Raises ServingError if its confidences would mean nothing here, and says why."""
    section = settings.CONFIG.inference
    if section.backend == "none":
        raise ServingError(
            "No server of a language model is configured: inference.backend is none."
        )
    if model.base != section.model:
        raise ServingError(
            f"{model.version} stands on the base model {model.base!r}, and the server runs "
            f"{section.model!r} (inference.model)."
        )
    calibrator = model.calibrator
    identity = calibrator.identity if calibrator is not None else None
    if calibrator is None or identity is None:
        raise ServingError(f"{model.version} has no calibrator for a language model. {_REMEDY}")
    for what, of_calibrator, wanted in (
        ("kind of server", identity.backend, section.backend),
        ("base model", (identity.base, identity.base_digest), (model.base, model.base_sha256)),
        (
            "adapter",
            (identity.adapter, identity.adapter_digest),
            (model.adapter, model.adapter_sha256),
        ),
        ("prompt", identity.prompt, prompt_version()),
        ("encoder", calibrator.encoder, encoder_digest()),
        ("taxonomy", month_of(calibrator.edition), _month()),
    ):
        if of_calibrator != wanted:
            raise ServingError(
                f"The calibrator of {model.version} was fitted for another {what}. {_REMEDY}"
            )


def _month() -> str | None:
    release = current_release()
    return None if release is None else month_of(release.taxonomy.edition)

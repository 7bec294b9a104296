"""System checks: what must hold before the service is let loose."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

MIN_SECRET_LENGTH = 32


@register()
def secret_key_is_set(**_kwargs: Any) -> list[CheckMessage]:
    """Sessions and keyed hashes rest on the secret: a short one is refused."""
    if settings.SECRET_KEY_IS_SET and len(settings.SECRET_KEY) < MIN_SECRET_LENGTH:
        return [
            Error(
                f"The secret key has fewer than {MIN_SECRET_LENGTH} characters.",
                hint="Set PILLARS_SECRET_KEY to the output of `openssl rand -base64 48`.",
                id="pillars.E001",
            )
        ]
    return []


@register(deploy=True)
def secret_key_required(**_kwargs: Any) -> list[CheckMessage]:
    """`check --deploy` refuses a service without a secret of its own."""
    if settings.SECRET_KEY_IS_SET:
        return []
    return [
        Error(
            "No secret key is set.",
            hint="Set PILLARS_SECRET_KEY to the output of `openssl rand -base64 48`.",
            id="pillars.E002",
        )
    ]

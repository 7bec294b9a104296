"""People who log in."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person of one tenant, or an operator of the platform. The same name elsewhere is another."""

    class Meta(AbstractUser.Meta):  # type: ignore[name-defined,misc]
        ordering = ("username",)

"""People who log in."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person of one tenant, or an operator. The same name in another schema is another person."""

    class Meta(AbstractUser.Meta):
        ordering = ("username",)

"""Use of API keys."""

from django.db import models


class KeyUse(models.Model):
    """What a key did on one day (UTC). Counted beside the rate limits, written every minute."""

    id = models.BigAutoField(primary_key=True)
    # The key's UUID, not a foreign key: no reference crosses from a tenant's schema to another.
    key_id = models.UUIDField()
    day = models.DateField()
    requests = models.PositiveBigIntegerField(default=0)
    items = models.PositiveBigIntegerField(default=0)
    last_used_at = models.DateTimeField()

    class Meta:
        ordering = ("-day",)
        constraints = [
            models.UniqueConstraint(fields=["key_id", "day"], name="one_row_a_key_and_day")
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.items}"

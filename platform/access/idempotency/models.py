"""Answers kept for repeated requests."""

from django.db import models


class StoredAnswer(models.Model):
    """The first answer to a request sent with an Idempotency-Key.

    The key and the body are kept as keyed hashes alone: both are the caller's text.
    """

    id = models.BigAutoField(primary_key=True)
    path = models.CharField(max_length=100)
    key_digest = models.CharField(max_length=64)
    body_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["path", "key_digest"], name="one_answer_a_key_and_path")
        ]

    def __str__(self) -> str:
        return f"{self.path} {self.status}"

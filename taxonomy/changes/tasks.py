"""Background work on change sets, in the public schema."""

from celery import shared_task

from taxonomy.changes import impact, notices, publishing
from tenants.context import reset


@shared_task(name="changes.publish_due")
def publish_due() -> None:
    """Publish what was approved for a time that has come."""
    reset()
    publishing.publish_due()


@shared_task(name="changes.send_notices")
def send_notices() -> None:
    """Send the e-mails that wait."""
    reset()
    notices.send_notices()


@shared_task(name="changes.count_impact")
def count_impact(*, number: int) -> None:
    """Count what a change set would change for each tenant."""
    reset()
    impact.count_impact(number=number)

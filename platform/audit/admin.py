"""The audit trail in the admin: read-only."""

from django.contrib.admin import AdminSite
from unfold.contrib.filters.admin import RangeDateTimeFilter

from audit.models import AuditEntry
from pillars.admin import PillarsAdmin


class AuditEntryAdmin(PillarsAdmin):
    """Browse and filter; nothing can be changed here, nor in the database."""

    list_display = ("at", "action", "actor", "target")
    list_filter = ("action", ("at", RangeDateTimeFilter))
    search_fields = ("actor", "target", "action")
    list_per_page = 50


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(AuditEntry, AuditEntryAdmin)

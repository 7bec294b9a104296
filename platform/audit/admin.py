"""The audit trail in the admin: read-only."""

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeDateTimeFilter

from audit.models import AuditEntry


class AuditEntryAdmin(ModelAdmin):
    """Browse and filter; nothing can be changed here, nor in the database."""

    list_display = ("at", "action", "actor", "target")
    list_filter = ("action", ("at", RangeDateTimeFilter))
    search_fields = ("actor", "target", "action")
    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(AuditEntry, AuditEntryAdmin)

"""People and roles in the admin."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.forms import ModelMultipleChoiceField
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from access.users.models import User
from audit.services import record
from pillars.admin import FoundOrNot


class UserAdmin(DjangoUserAdmin, FoundOrNot):  # type: ignore[type-arg]
    """People of this schema. Only a superuser may hand out more than roles."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "groups")
    filter_horizontal = ()
    # Rights come from roles; single permissions for single people would be seen by nobody.
    fieldsets = (
        ("Person", {"fields": ("username", "password", "first_name", "last_name", "email")}),
        ("Access", {"fields": ("is_active", "is_staff", "groups", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        readonly = [*super().get_readonly_fields(request, obj), "last_login", "date_joined"]
        if not request.user.is_superuser:
            readonly.append("is_superuser")
        return readonly

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> "ModelMultipleChoiceField[Any] | None":
        """Roles are few: boxes to tick, which also fit a telephone."""
        if db_field.name == "groups":
            kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Whoever is added here is meant to log in here."""
        if not change:
            obj.is_staff = True
        super().save_model(request, obj, form, change)

    def log_addition(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Django calls this after a person was added."""
        _record(request, obj, "user.created")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Django calls this after a change, also of a password."""
        _record(request, obj, "user.changed")
        return super().log_change(request, obj, message)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        # Otherwise an administrator could take over a superuser by setting the password.
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # the audit trail names people: they are deactivated, never deleted


def _record(request: HttpRequest, person: User, action: str) -> None:
    """In the audit trail, with what the person may do from now on."""
    detail = {
        "roles": sorted(person.groups.values_list("name", flat=True)),
        "active": person.is_active,
        "login": person.is_staff,
    }
    actor = f"user:{request.user.get_username()}"
    record(action=action, actor=actor, target=f"user:{person.username}", detail=detail)


class GroupAdmin(DjangoGroupAdmin, FoundOrNot):
    """Roles: read-only, because they are defined in access.users.roles."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return False


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(User, UserAdmin)
    site.register(Group, GroupAdmin)

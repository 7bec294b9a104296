"""What the admin pages of all apps share: who acts, read-only lists, pages with a form."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.context_processors import PermWrapper
from django.core.paginator import Paginator
from django.db.models import Model
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from pillars.badges import badge


def actor(request: HttpRequest) -> str:
    """Whom the audit trail names for what this request does."""
    return f"user:{request.user.get_username()}"


class FoundOrNot(ModelAdmin):
    """An object that the person may not see is not found (404).

    Django would redirect to the start page with a message that repeats the id.
    """

    def _get_obj_does_not_exist_redirect(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Http404


class PillarsAdmin(FoundOrNot):
    """Rows are shown, never edited in place: what changes them is a service behind a page."""

    list_filter_submit = True
    show_full_result_count = False
    list_empty_template = ""  # what an empty list says: what it is for, how the first row is made

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Not by the model's form."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Not by the model's form."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing is deleted here."""
        return False

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Whether the person's role grants the verb (view, add, change) on this model."""
        name = f"{self.opts.app_label}.{verb}_{self.opts.model_name}"
        return bool(request.user.has_perm(name))

    def wanted(self, request: HttpRequest, object_id: str) -> Any:
        """The object of a page, out of those that the person may see. Raises Http404."""
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return found

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, titled by what it lists: Django's own title asks to select a row."""
        title = str(self.opts.verbose_name_plural)
        extra = {"title": title[:1].upper() + title[1:], **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, extra)
        return response

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """With the person's permissions, of which what stands in place of an empty list depends."""
        found: ChangeList = super().get_changelist_instance(request)
        found.perms = PermWrapper(request.user)  # type: ignore[attr-defined]
        return found

    def form_page(
        self,
        request: HttpRequest,
        *,
        form: Form,
        title: str,
        submit: str,
        intro: str = "",
        danger: bool = False,
        facts: Mapping[str, Any] | None = None,
        obj: Model | None = None,
    ) -> TemplateResponse:
        """A page with one form, which works without JavaScript. Also shows the form's errors."""
        context = {
            "object": obj,
            "title": title,
            "form": form,
            "submit": submit,
            "intro": intro,
            "danger": danger,
            "facts": facts or {},
            "back": self.address(request, obj),
        }
        return self.page(request, "pillars/form_page.html", context)

    def page(
        self, request: HttpRequest, template: str, context: Mapping[str, Any]
    ) -> TemplateResponse:
        """A page of our own within the admin site."""
        request.current_app = self.admin_site.name
        common = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, template, {**common, **context})

    def address(self, request: HttpRequest, obj: Model | None = None) -> str:
        """The path of an object's page, or of the list."""
        base = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}"
        if obj is None:
            return reverse(f"{base}_changelist")
        return reverse(f"{base}_change", args=[obj.pk])


class WindowPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through the newest rows without counting them: a count would read the whole table.

    It reaches `MAX_PAGES` far, because a page far back costs as much as all pages before it.
    """

    MAX_PAGES = 100
    template_name = "pillars/pagination_window.html"

    @cached_property
    def count(self) -> int:
        """How far one may page, not how many rows there are."""
        return int(self.per_page) * self.MAX_PAGES


def badges(values: Iterable[str]) -> SafeString:
    """Neutral badges in a row, such as scopes or labels."""
    row = format_html_join(" ", "{}", ((badge(value),) for value in values))
    return format_html("<span>{}</span>", row)

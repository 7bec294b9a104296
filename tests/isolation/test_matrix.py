"""Every address of both URL tables with the credentials of everybody to whom it does not belong.

The answer must be 401, 403, 404 or the way to the login page, and nothing in it may be the other
tenant's. Addresses come from the URL resolver and the admin registries (tests/isolation/routes.py).
"""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.test import Client
from django.urls import resolve

from access.users.models import User
from access.users.roles import COMPLIANCE_OFFICER, TENANT_ROLES
from pillars.sites import platform_site, tenant_site
from tenants.context import PUBLIC, current_schema, tenant_context
from tests.isolation.routes import PLATFORM, TENANT, Kind, Route, all_routes
from tests.isolation.world import Side, World, contents

ROUTES = all_routes()
IN_TENANT = [route for route in ROUTES if route.table == TENANT]
ON_PLATFORM = [route for route in ROUTES if route.table == PLATFORM]
REFUSED = {401, 403, 404}
# Pages of the admin that anybody may open, because they are the way in or say nothing.
WAY_IN = {"login", "logout", "jsi18n"}
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


def each(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=str)


def ask(
    world: World,
    method: str,
    path: str,
    host: str,
    *,
    key: str = "",
    session: str = "",
    **headers: str,
) -> Any:
    """One request, whose effects are undone."""
    if key:
        headers["authorization"] = f"Bearer {key}"
    if session:
        headers["cookie"] = f"sessionid={session}"
    client = Client(raise_request_exception=False)
    body = json.dumps({"detector": "presidio", "output": "x"}) if method in UNSAFE else ""
    browser = path.startswith("/admin")
    content_type = "application/x-www-form-urlencoded" if browser else "application/json"
    with world.undone():
        answer = client.generic(
            method, path, "" if browser else body, content_type, headers={"host": host, **headers}
        )
    assert current_schema() == PUBLIC
    return answer


def submit(
    world: World, path: str, side: Side, form: dict[str, Any], *, undone: bool = True
) -> Any:
    """A form, sent by the tenant's own superuser at its own host."""
    headers = {"host": side.host, "cookie": f"sessionid={side.sessions['chief']}"}
    with world.undone() if undone else nullcontext():
        return Client(raise_request_exception=False).post(path, form, headers=headers)


def text_of(answer: Any) -> str:
    """Body and headers, in lower case."""
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return f"{answer.headers} {body.decode('utf-8', 'replace')}".lower()


def to_login(answer: Any) -> bool:
    return answer.status_code == 302 and answer.headers["Location"].startswith("/admin/login/")


def check_says_nothing(answer: Any, *sides: Side) -> None:
    text = text_of(answer)
    for side in sides:
        assert side.mark not in text
        assert side.key_mark not in text


def check_untouched(world: World, side: Side) -> None:
    """Its tables are as they were planted: whatever was sent, and what others sent was undone."""
    assert contents(side) == world.planted[side.tenant.slug]


def attempts(
    world: World, route: Route, owner: Side, host: str, **credentials: str
) -> Iterator[tuple[str, Any]]:
    """Every method on every address of the owner's rows."""
    for path in route.paths(owner.ids):
        for method in route.methods:
            yield (
                f"{method} {path} on {host}",
                ask(world, method, path, host, **credentials),
            )


def check_refused(
    world: World, route: Route, owner: Side, host: str, *silent: Side, **credentials: str
) -> None:
    """Nothing of this address is for these credentials."""
    for what, answer in attempts(world, route, owner, host, **credentials):
        check_says_nothing(answer, *silent)
        if route.kind is Kind.OPEN or (route.kind is Kind.ADMIN and route.name in WAY_IN):
            assert answer.status_code < 500, what
        elif route.kind is Kind.ADMIN:
            assert answer.status_code in REFUSED or to_login(answer), (what, answer.status_code)
        else:
            assert answer.status_code in REFUSED, (what, answer.status_code)
    check_untouched(world, owner)


class TestTheMatrixItself:
    def test_covers_both_registries(self) -> None:
        """Every model of both admin sites has its five pages in the list."""
        patterns = {(route.table, route.pattern) for route in ROUTES}
        for table, site in ((TENANT, tenant_site), (PLATFORM, platform_site)):
            assert len(site._registry) >= 10
            for model in site._registry:
                base = f"admin/{model._meta.app_label}/{model._meta.model_name}/"
                for page in ("", "add/", *(f"<path:object_id>/{name}/" for name in (
                    "history", "delete", "change",
                ))):  # fmt: skip
                    assert (table, base + page) in patterns

    def test_a_new_address_that_it_does_not_know_fails(self) -> None:
        unknown = Route(TENANT, "things/<int:thing_id>", "thing", Kind.API, "")
        with pytest.raises(KeyError, match="thing_id"):
            unknown.paths({})

    def test_the_marks_are_where_their_owner_looks(self, world: World) -> None:
        """Otherwise not finding them elsewhere would prove nothing."""
        for side in (world.acme, world.globex):
            chief = side.sessions["chief"]
            for model in ("mapping.mappingevent", "mapping.knowledgepin", "mapping.migrationrun",
                          "mapping.reviewitem", "mapping.labeldecision",
                          "mapping.thresholdoverride",
                          "reporting.report", "users.user", "auth.group",
                          "audit.auditentry"):  # fmt: skip
                app, name = model.split(".")
                for page in ("", f"{side.ids[model]}/change/"):
                    path = f"/admin/{app}/{name}/{page}"
                    answer = ask(world, "GET", path, side.host, session=chief)
                    assert answer.status_code == 200, path
                    assert side.mark in text_of(answer), path
            for page in ("", f"{side.ids['keys.apikey']}/change/"):
                path = f"/admin/keys/apikey/{page}"
                assert side.key_mark in text_of(ask(world, "GET", path, side.host, session=chief))
            report = f"/reports/{side.ids['reporting.report']}"
            for path in ("/events", "/reports", report, f"{report}/json", f"{report}/pdf"):
                answer = ask(world, "GET", path, side.host, key=side.key)
                assert answer.status_code == 200, path
                assert side.mark in text_of(answer), path


class TestAtAnotherTenantsHost:
    """acme's addresses, by anybody who is not acme's."""

    @each(IN_TENANT)
    def test_without_credentials(self, world: World, route: Route) -> None:
        check_refused(world, route, world.acme, world.acme.host, world.acme)

    @each(IN_TENANT)
    def test_with_the_other_tenants_key(self, world: World, route: Route) -> None:
        check_refused(
            world, route, world.acme, world.acme.host, world.acme, world.globex,
            key=world.globex.key,
        )  # fmt: skip

    @pytest.mark.parametrize("person", ["chief"])
    @each(IN_TENANT)
    def test_with_the_other_tenants_session(self, world: World, route: Route, person: str) -> None:
        check_refused(
            world, route, world.acme, world.acme.host, world.acme, world.globex,
            session=world.globex.sessions[person],
        )  # fmt: skip

    @each(IN_TENANT)
    def test_with_the_operators_session(self, world: World, route: Route) -> None:
        check_refused(world, route, world.acme, world.acme.host, world.acme, session=world.operator)

    @each(IN_TENANT)
    def test_by_somebody_who_may_not_log_in(self, world: World, route: Route) -> None:
        check_refused(
            world, route, world.acme, world.acme.host, world.acme,
            session=world.acme.sessions["outsider"],
        )  # fmt: skip


class TestAtHostsOfNobody:
    """Right credentials at a host that is no tenant's: they are not even looked at."""

    @pytest.mark.parametrize(
        "form", ["{}.example.com", "{}.localhost.evil.example", "x{}.localhost"]
    )
    @each([route for route in IN_TENANT if route.kind is not Kind.OPEN])
    def test_is_not_found(self, world: World, route: Route, form: str) -> None:
        acme = world.acme
        host = form.format(acme.tenant.slug)
        path = route.paths(acme.ids)[0]
        for method in route.methods:
            answer = ask(
                world, method, path, host, key=acme.key, session=acme.sessions["chief"],
                x_forwarded_host=acme.host,
            )  # fmt: skip
            assert answer.status_code == 404, (method, answer.status_code)
            check_says_nothing(answer, acme)


class TestAtHomeWithAnothersIds:
    """globex at its own host, where it asks for acme's rows."""

    @pytest.mark.parametrize("person", ["chief"])
    @each([route for route in IN_TENANT if route.kind is Kind.ADMIN])
    def test_in_the_admin(self, world: World, route: Route, person: str) -> None:
        globex = world.globex
        for what, answer in attempts(
            world, route, world.acme, globex.host, session=globex.sessions[person]
        ):
            check_says_nothing(answer, world.acme)
            assert answer.status_code < 500, what
            # The knowledge and the names of content types are everybody's.
            if route.has_object and not route.model.startswith("taxonomy."):
                moved = route.pattern.endswith("<path:object_id>/")  # the old form of an address
                assert answer.status_code in REFUSED or moved, (what, answer.status_code)
        check_untouched(world, world.acme)

    @each([route for route in IN_TENANT if route.kind is Kind.API])
    def test_by_the_api(self, world: World, route: Route) -> None:
        for host in (world.globex.host, "localhost"):
            for what, answer in attempts(world, route, world.acme, host, key=world.globex.key):
                check_says_nothing(answer, world.acme)
                assert answer.status_code < 500, what
                if route.has_object and answer.status_code not in (405, 200):
                    assert answer.status_code in REFUSED, what
                if route.has_object and "OPTIONS" not in what:
                    assert answer.status_code != 200, what

    @each([route for route in IN_TENANT if route.kind is Kind.API])
    def test_by_the_api_with_the_others_name(self, world: World, route: Route) -> None:
        for name in (world.acme.tenant.slug, str(world.acme.tenant.id)):
            check_refused(
                world, route, world.acme, "localhost", world.acme, world.globex,
                key=world.globex.key, x_tenant_id=name,
            )  # fmt: skip

    def test_searches_and_filters(self, world: World) -> None:
        """With a part of the mark, because pages repeat what was asked for."""
        globex, part = world.globex, world.acme.mark[:5]
        for model in tenant_site._registry:
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/?q={part}"
            check_says_nothing(
                ask(world, "GET", path, globex.host, session=globex.sessions["chief"]), world.acme
            )
        for path in (
            f"/admin/search/?s={part}", f"/admin/search/?s={part}&extended=1",
            f"/admin/keys/apikey/?tenant__id__exact={world.acme.tenant.pk}",
            f"/admin/keys/apikey/?tenant__slug={world.acme.tenant.slug}",
            f"/admin/audit/auditentry/?actor__startswith={part}",
            f"/events?detector={part}", f"/events?label={part}",
        ):  # fmt: skip
            session = globex.sessions["chief"] if path.startswith("/admin") else ""
            answer = ask(world, "GET", path, globex.host, session=session, key=globex.key)
            check_says_nothing(answer, world.acme)

    def test_completions_of_related_fields(self, world: World) -> None:
        globex = world.globex
        for model in tenant_site._registry:
            for relation in model._meta.get_fields():
                if not relation.is_relation or relation.auto_created:
                    continue
                path = (
                    f"/admin/autocomplete/?term={world.acme.mark[:3]}&app_label="
                    f"{model._meta.app_label}&model_name={model._meta.model_name}"
                    f"&field_name={relation.name}"
                )
                answer = ask(world, "GET", path, globex.host, session=globex.sessions["chief"])
                check_says_nothing(answer, world.acme)
                assert answer.status_code in {200, *REFUSED}

    def test_bulk_actions(self, world: World) -> None:
        """Whatever a list offers to do to chosen rows, done to rows of the other."""
        globex = world.globex
        tried = 0
        for model, page in tenant_site._registry.items():
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            row = world.acme.ids[model._meta.label_lower]
            for action in {"delete_selected", *(str(a) for a in page.actions or ())}:
                form = {"action": action, "_selected_action": str(row), "post": "yes"}
                answer = submit(world, path, globex, form)
                assert answer.status_code < 500, path
                check_says_nothing(answer, world.acme)
                tried += 1
        assert tried >= len(tenant_site._registry)
        check_untouched(world, world.acme)

    def test_forms_that_name_the_others_rows(self, world: World) -> None:
        """A key for the other tenant, a role of the other's for one's own person."""
        globex = world.globex
        with world.undone():
            form = {"tenant": str(world.acme.tenant.pk), "name": "mine", "scopes": ["map:write"]}
            page = submit(world, "/admin/keys/apikey/add/", globex, form, undone=False)
            assert page.context["issued"].key.tenant_id == globex.tenant.pk
            with tenant_context(globex.tenant):
                person = User.objects.get(username="nobody")
            path = f"/admin/users/user/{person.pk}/change/"
            form = {"username": "nobody", "is_staff": "on"}
            assert submit(world, path, globex, form).status_code == 302
            form["groups"] = str(world.acme.ids["auth.group"])
            page = submit(world, path, globex, form)
            assert page.status_code == 200
            assert "groups" in page.context["adminform"].form.errors
        check_untouched(world, world.acme)

    def test_the_others_event_id_as_idempotency_key(self, world: World) -> None:
        own = str(world.acme.ids["mapping.mappingevent"])
        for side in (world.acme, world.globex):
            answer = ask(world, "POST", "/map", "localhost", key=side.key, idempotency_key=own)
            assert answer.status_code == 200
            assert "idempotency-replayed" not in text_of(answer)


class TestOnThePlatform:
    @each(ON_PLATFORM)
    def test_without_credentials(self, world: World, route: Route) -> None:
        check_refused(world, route, world.acme, "localhost", world.acme)

    @pytest.mark.parametrize("person", ["chief"])
    @each(ON_PLATFORM)
    def test_with_a_tenants_session(self, world: World, route: Route, person: str) -> None:
        """Not even with the ids of the tenant's own rows."""
        check_refused(
            world, route, world.acme, "localhost", world.acme, world.globex,
            session=world.acme.sessions[person],
        )  # fmt: skip

    @each([route for route in ON_PLATFORM if route.kind is Kind.ADMIN])
    def test_a_key_opens_no_page(self, world: World, route: Route) -> None:
        check_refused(world, route, world.acme, "localhost", world.acme, key=world.acme.key)

    @each([route for route in ON_PLATFORM if route.kind is Kind.ADMIN])
    def test_operators_see_no_tenants_data(self, world: World, route: Route) -> None:
        """Names of tenants and keys are theirs to see; events, people, reports are not."""
        for what, answer in attempts(world, route, world.acme, "localhost", session=world.operator):
            assert answer.status_code < 500, what
            assert world.acme.mark not in text_of(answer), what

    @each([route for route in ON_PLATFORM if route.kind is Kind.API])
    def test_the_operators_session_is_no_key(self, world: World, route: Route) -> None:
        check_refused(world, route, world.acme, "localhost", world.acme, session=world.operator)


class TestWithoutPermission:
    """People and keys of the tenant itself, where their role or scope does not reach."""

    def may(self, side: Side, person: str, name: str) -> bool:
        with tenant_context(side.tenant):
            return User.objects.get(username=person).has_perm(name)

    @pytest.mark.parametrize("person", ["officer", "nobody"])
    @each([route for route in IN_TENANT if route.model])
    def test_people(self, world: World, route: Route, person: str) -> None:
        acme = world.acme
        app, model = route.model.split(".")
        sees = self.may(acme, person, f"{app}.view_{model}")
        for what, answer in attempts(world, route, acme, acme.host, session=acme.sessions[person]):
            assert answer.status_code < 500, what
            if not sees:
                moved = route.pattern.endswith("<path:object_id>/")
                assert answer.status_code in REFUSED or moved, (what, answer.status_code)
                check_says_nothing(answer, acme)
        check_untouched(world, acme)

    def test_what_the_roles_do_not_reach(self, world: World) -> None:
        """The list above must not be empty by mistake."""
        unseen = {
            route.model
            for route in IN_TENANT
            if route.model
            and not self.may(world.acme, "officer", "{}.view_{}".format(*route.model.split(".")))
        }
        assert unseen == {"keys.apikey", "users.user", "auth.group"}
        assert not any(name.startswith("keys.") for name in TENANT_ROLES[COMPLIANCE_OFFICER])

    @each([route for route in IN_TENANT if route.kind is Kind.API])
    def test_keys(self, world: World, route: Route) -> None:
        acme = world.acme
        path = route.paths(acme.ids)[0]
        needed = resolve(path, TENANT).func.cls.required_scope
        for scope, key in acme.weak_keys.items():
            if scope == needed:
                continue
            for what, answer in attempts(world, route, acme, acme.host, key=key):
                assert answer.status_code == 403, what
                check_says_nothing(answer, acme)

"""The roles that a tenant starts with, as permissions by app."""

ADMINISTRATOR = "Administrator"
COMPLIANCE_OFFICER = "Compliance officer"

_READ_EVERYTHING = (
    "audit.view_auditentry",
    "mapping.view_mappingevent",
    "reporting.view_report",
    "taxonomy.*:view",
)
# `app.*:verb` stands for that verb on every model of the app.
TENANT_ROLES: dict[str, tuple[str, ...]] = {
    ADMINISTRATOR: (
        *_READ_EVERYTHING,
        "reporting.add_report",
        "users.*:view", "users.*:add", "users.*:change", "auth.view_group",
        "keys.view_apikey", "keys.add_apikey", "keys.change_apikey",
    ),
    COMPLIANCE_OFFICER: (*_READ_EVERYTHING, "reporting.add_report"),
}  # fmt: skip

"""The roles that a tenant and the platform start with, as permissions by app."""

ADMINISTRATOR = "Administrator"
COMPLIANCE_OFFICER = "Compliance officer"
REVIEWER = "Mapping reviewer"
CURATOR = "Knowledge curator"
APPROVER = "Knowledge approver"
OPERATOR = "Mapping operator"
MODEL_ENGINEER = "Model engineer"
MODEL_APPROVER = "Model approver"

_READ_EVERYTHING = (
    "audit.view_auditentry",
    "mapping.view_mappingevent",
    "mapping.view_migrationrun",
    "mapping.view_knowledgepin",
    "mapping.view_reviewitem",
    "mapping.view_labeldecision",
    "mapping.view_thresholdoverride",
    "reporting.view_report",
    "taxonomy.*:view",
)
# Who decides what labels mean for the tenant, and suggests it for everybody.
_DECIDE = (
    "mapping.change_reviewitem",
    "mapping.add_labeldecision",
    "mapping.suggest_labeldecision",
)
# `app.*:verb` stands for that verb on every model of the app.
TENANT_ROLES: dict[str, tuple[str, ...]] = {
    ADMINISTRATOR: (
        *_READ_EVERYTHING,
        *_DECIDE,
        "reporting.add_report", "mapping.add_knowledgepin",
        "mapping.add_thresholdoverride",
        "users.*:view", "users.*:add", "users.*:change", "auth.view_group",
        "keys.view_apikey", "keys.add_apikey", "keys.change_apikey",
    ),
    COMPLIANCE_OFFICER: (*_READ_EVERYTHING, "reporting.add_report"),
    REVIEWER: (*_READ_EVERYTHING, *_DECIDE),
}  # fmt: skip
# Of people of the platform. Whoever has both roles of a kind still does not approve their own work.
PLATFORM_ROLES: dict[str, tuple[str, ...]] = {
    CURATOR: (
        "taxonomy.*:view", "changes.*:view", "changes.add_changeset", "changes.change_changeset",
        "changes.change_suggestion",
        "switch.view_modechoice", "serving.view_servingchoice", "audit.view_auditentry",
    ),
    APPROVER: (
        "taxonomy.*:view", "changes.*:view", "changes.approve_changeset",
        "switch.view_modechoice", "serving.view_servingchoice", "audit.view_auditentry",
    ),
    # Who may choose the mapping mode and turn the kill switch, as superusers may, and roll a model
    # back.
    OPERATOR: (
        "taxonomy.*:view", "switch.view_modechoice", "switch.add_modechoice",
        "serving.view_servingchoice",
        "training.*:view", "training.roll_back_modelversion",
        "runs.view_trainingrun",
        "audit.view_auditentry",
    ),
    # Who trains models, registers and promotes versions of them.
    MODEL_ENGINEER: (
        "taxonomy.*:view", "training.*:view", "training.add_modelversion",
        "runs.view_trainingrun", "runs.add_trainingrun", "runs.change_trainingrun",
        "training.promote_modelversion", "training.roll_back_modelversion",
        "switch.view_modechoice", "serving.view_servingchoice", "audit.view_auditentry",
    ),
    # Who approves versions that others made.
    MODEL_APPROVER: (
        "taxonomy.*:view", "training.*:view", "training.approve_modelversion",
        "runs.view_trainingrun",
        "training.promote_modelversion", "training.roll_back_modelversion",
        "switch.view_modechoice", "serving.view_servingchoice", "audit.view_auditentry",
    ),
}  # fmt: skip

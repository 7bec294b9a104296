"""Errors of the tenant services. Their messages are for people."""


class TenantError(Exception):
    """The tenant cannot be created, changed or deleted; the message says why and what to do."""

"""Django's cache of content types, kept apart by schema.

Django keeps one for the whole process. Its rows' ids may differ between schemas, and clearing it at
each switch, as django-tenants does, does not help the thread beside.
"""

from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connections


class SchemaCache(dict[Any, dict[Any, ContentType]]):
    """What ContentTypeManager expects, by database alias, with the schema in the key."""

    def __getitem__(self, using: str) -> dict[Any, ContentType]:
        return super().__getitem__(_key(using))

    def setdefault(self, using: str, default: Any = None) -> dict[Any, ContentType]:
        """As dict's."""
        return super().setdefault(_key(using), default)


def _key(using: str) -> tuple[str, str]:
    return using, str(connections[using].schema_name)  # type: ignore[attr-defined]


def keep_content_types_apart() -> None:
    """Put the cache in place. Called once, when the apps are ready."""
    ContentType.objects._cache = SchemaCache()  # type: ignore[attr-defined]

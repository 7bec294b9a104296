"""App configuration."""

from django.apps import AppConfig


class MappingConfig(AppConfig):
    """Mapping of detector outputs and the events that it leaves (tenant schema)."""

    name = "mapping"
    verbose_name = "Mapping"

    def ready(self) -> None:
        """Give each new tenant its event partitions."""
        from mapping.partitions import give_tenant_its_partitions
        from tenants.signals import tenant_schema_ready

        tenant_schema_ready.connect(give_tenant_its_partitions, dispatch_uid="mapping.partitions")

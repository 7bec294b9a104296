"""App configuration."""

from django.apps import AppConfig


class MappingConfig(AppConfig):
    """Mapping of detector outputs and the events that it leaves (tenant schema)."""

    name = "mapping"
    verbose_name = "Mapping"

    def ready(self) -> None:
        """Give each new tenant its event partitions, and check knowledge before it is loaded."""
        from mapping.impact import count_for_change_set
        from mapping.knowledge import problems_for_the_engine
        from mapping.partitions import give_tenant_its_partitions
        from taxonomy.changes.signals import impact_asked
        from taxonomy.signals import knowledge_checked
        from tenants.signals import tenant_schema_ready

        tenant_schema_ready.connect(give_tenant_its_partitions, dispatch_uid="mapping.partitions")
        knowledge_checked.connect(problems_for_the_engine, dispatch_uid="mapping.knowledge")
        impact_asked.connect(count_for_change_set, dispatch_uid="mapping.impact")

"""What other apps may do when a tenant's schema changes, without this app knowing them."""

from django.dispatch import Signal

# Sent inside the tenant's context after its tables exist; receivers fill in what a tenant starts
# with (roles, partitions). kwargs: tenant. Receivers must be idempotent: set-up may be repeated.
tenant_schema_ready = Signal()

# Sent after a tenant was suspended, resumed or deleted. kwargs: tenant.
tenant_state_changed = Signal()

"""People and their roles. A tenant's users live in the tenant's schema, operators in public."""

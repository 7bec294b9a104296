"""The tenant register, the one switch between tenants, and the life of a tenant's schema."""

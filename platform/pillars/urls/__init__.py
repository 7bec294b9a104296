"""URL tables: the API (everywhere), the platform's host, a tenant's host."""

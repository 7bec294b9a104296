"""API keys: they name the tenant, carry scopes and are counted against limits."""

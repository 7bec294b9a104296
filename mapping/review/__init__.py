"""The review queue: labels that wait for a person, and what the tenant's people decided."""

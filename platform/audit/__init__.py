"""Who did what, when: an append-only record in each tenant's schema and in the platform's."""

"""How much each API key was used, by day; in the tenant's schema."""

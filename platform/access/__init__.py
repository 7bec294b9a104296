"""Who may do what: people (`access.users`, every schema) and API keys (`access.keys`, public)."""

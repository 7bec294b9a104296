"""Who may do what: people (`access.users`, in every schema) and API keys (`access.keys`, public)."""

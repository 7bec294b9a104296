"""Training runs: asked for, followed, shown while they go on, cancelled and resumed."""

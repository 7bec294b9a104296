"""How Pillars is run: `deploy.local` is the stack that `make up` starts on one machine."""

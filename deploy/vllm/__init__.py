"""vLLM with what Pillars needs of it, and the shield in front of it (nginx.conf)."""

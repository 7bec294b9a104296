"""Which mode maps on this platform: choices of people, and the kill switch (public schema)."""

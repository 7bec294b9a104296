"""The raw request of the mapping tests."""

from tests.mapping.conftest import send_raw

__all__ = ["send_raw"]

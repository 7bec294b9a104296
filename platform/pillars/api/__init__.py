"""What every API view shares: JSON in and out, the OpenAPI document, small helpers."""

"""The isolation matrix: every address, tried by everybody to whom it does not belong."""

"""One module per hosted service."""

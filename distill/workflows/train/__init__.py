"""Training, as functions."""

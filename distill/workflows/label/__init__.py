"""What `distill label` does, as functions."""

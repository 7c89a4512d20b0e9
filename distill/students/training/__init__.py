"""The training loop: Lightning module, optimizer, resume."""

"""Losses, weighted by validity, teacher confidence and image quality."""

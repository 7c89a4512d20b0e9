"""Tuning of an image generator on labels encoded as images."""

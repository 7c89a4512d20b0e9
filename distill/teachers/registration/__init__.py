"""Align a generated image with its photo."""

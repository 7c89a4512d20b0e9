"""Timing of models, as functions."""

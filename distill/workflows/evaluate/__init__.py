"""Evaluation against ground truth, as functions."""

"""Batch inference on photos and videos."""

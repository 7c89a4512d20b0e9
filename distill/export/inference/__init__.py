"""Batch inference over photos and videos."""

"""Batch APIs of hosted services."""

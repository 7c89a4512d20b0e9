"""Cached generated images, request ledger, budget."""

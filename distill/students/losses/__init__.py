"""Losses shared by tasks, and their sum over a batch."""

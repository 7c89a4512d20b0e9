"""Predictors against truth: who is scored, on which pixels, under which names, and the page that shows it."""

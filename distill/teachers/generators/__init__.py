"""Generators: they paint answers."""

"""Specialist teachers: they predict label maps directly."""

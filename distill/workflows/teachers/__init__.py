"""Named teachers: list, load, classes."""

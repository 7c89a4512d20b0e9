"""Threads, processes, locks, SQLite and progress reporting."""

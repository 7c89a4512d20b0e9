"""Formats of other tools that sets of shards are written to and read from: one module each, one row in `registry`."""

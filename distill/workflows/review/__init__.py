"""Review of a set of labels on a page, and on a local server for large sets."""

"""Check an exported file against its student: differences, scores, timing."""

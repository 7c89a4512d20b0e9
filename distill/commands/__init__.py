"""Command line: one module per verb, which parses options, calls one function of `workflows` and prints its result."""

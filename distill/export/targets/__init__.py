"""Export targets: one module per engine, and the build with its parity check."""

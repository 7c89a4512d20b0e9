"""One module per export target, and the build that gates each file."""

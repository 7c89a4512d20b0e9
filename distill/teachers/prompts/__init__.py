"""Build prompts, and parse color legends."""

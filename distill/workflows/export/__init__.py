"""Export for inference engines, as functions."""

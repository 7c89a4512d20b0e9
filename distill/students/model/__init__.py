"""The student network: backbone, neck, heads."""

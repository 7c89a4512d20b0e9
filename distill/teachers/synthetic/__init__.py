"""Synthetic scenes with exact ground truth: ray caster, random scenes, generated images with simulated faults."""

"""Labeling jobs: options, plan, run, calibration and result."""

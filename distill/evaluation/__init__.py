"""Evaluation of predictors against ground truth."""

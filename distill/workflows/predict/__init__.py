"""Prediction on photos and videos, and the loaded model."""

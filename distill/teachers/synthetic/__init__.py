"""Scenes with exact truth, rendered by casting rays, and a painter that answers about them as a generalist would."""

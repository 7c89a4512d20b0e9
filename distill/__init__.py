"""Turn a generalist image generator into fast specialists that you own."""

__version__ = "0.1.0"

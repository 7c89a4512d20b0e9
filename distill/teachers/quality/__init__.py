"""Score, calibrate, filter and fuse labels."""

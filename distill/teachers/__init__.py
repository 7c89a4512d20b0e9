"""Teachers: photo to label maps."""

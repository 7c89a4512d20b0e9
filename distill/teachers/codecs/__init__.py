"""Values to colors of generated images, and back; stateless functions for each color code."""

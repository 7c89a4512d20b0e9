"""Files as a stranger might write them."""

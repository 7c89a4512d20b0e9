"""Training data for image generators: photos, prompts and the images that answer them."""

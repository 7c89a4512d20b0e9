"""HTML and Markdown pages of single verbs."""

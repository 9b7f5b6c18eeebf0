"""Scripts that make the same images by other means; each runs in a process of its own."""

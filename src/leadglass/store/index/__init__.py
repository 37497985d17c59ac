"""store/index."""

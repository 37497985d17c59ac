"""store/vault."""

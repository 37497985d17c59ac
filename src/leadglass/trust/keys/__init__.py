"""trust/keys."""

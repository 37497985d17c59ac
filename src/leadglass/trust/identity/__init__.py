"""trust/identity."""

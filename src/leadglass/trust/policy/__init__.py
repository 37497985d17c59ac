"""trust/policy."""

"""trust/certs."""

"""trust/audit."""

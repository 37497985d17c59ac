"""store/jobs."""

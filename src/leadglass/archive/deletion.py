"""Deleting softly, and restoring, inside the site's window."""

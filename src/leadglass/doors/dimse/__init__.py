"""doors/dimse."""

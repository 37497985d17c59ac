"""wire/dimse."""

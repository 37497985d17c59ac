"""wire/ul."""

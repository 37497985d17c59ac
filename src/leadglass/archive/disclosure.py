"""What was shown to whom, put on record before the first octet leaves."""

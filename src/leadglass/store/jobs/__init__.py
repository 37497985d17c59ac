"""Durable queue of work that is owed, in the database of the index."""

"""Workitems and subscriptions: small, mutable, sealed rows in the database of the index."""

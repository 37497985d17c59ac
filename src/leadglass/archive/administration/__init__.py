"""Administering a site: people, services, policy, reviews. Each verb asks policy first; identity puts the change on record.

Two ways lead here, the local command line and the console's API, and both get the same answer.
"""

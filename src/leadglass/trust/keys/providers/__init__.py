"""Holders of the root key: a file, a passphrase, a systemd credential."""

"""Certificates of the site, and the TLS that stands on them.

The site has a certificate authority of its own and trusts no other. Private keys of the site lie sealed under the
root KEK; private keys of devices are made here only when the device cannot make its own, and are not kept.

**Invariant:** no private key of the site reaches a disk in clear.
"""

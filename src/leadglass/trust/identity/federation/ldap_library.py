"""What we use of ldap3, imported in one place.

It has had no release since 2021 and imports names of pyasn1 that were renamed since. They are there; the warning about
them would only hide others.
"""

# pyright: reportUnknownVariableType=false
# The stubs of ldap3 leave nearly everything open.

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import (
        LDAPException,
        LDAPExceptionError,
        LDAPInvalidDnError,
        LDAPStartTLSError,
    )
    from ldap3.utils.conv import escape_filter_chars
    from ldap3.utils.dn import parse_dn

__all__ = [
    "LDAPException",
    "LDAPExceptionError",
    "LDAPInvalidDnError",
    "LDAPStartTLSError",
    "escape_filter_chars",
    "ldap3",
    "parse_dn",
]

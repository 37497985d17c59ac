"""Distinguished names, compared as directories do."""

# pyright: reportUnknownVariableType=false
# The stubs of ldap3 leave nearly everything open.

from leadglass.trust.identity.federation.ldap_library import LDAPInvalidDnError, parse_dn


def comparable(group: str) -> str:
    """Return what two spellings of one distinguished name have in common; any other text as it is.

    Case and the spaces around components make no difference. Source: RFC 4518 2, RFC 4519 2.3, for the attributes that
    name groups.
    """
    if "=" not in group:
        return group
    try:
        parts: list[tuple[str, str, str]] = parse_dn(group, escape=False, strip=True)
    except (LDAPInvalidDnError, IndexError):
        return group
    return "".join(f"{kind}={value}{joint}" for kind, value, joint in parts).casefold()

"""Single sign-on: who somebody is according to an identity provider that this site trusts.

OpenID Connect, SAML 2.0 and LDAP end in the same value, an ``ExternalIdentity``; ``mapping`` turns it into an account
and roles. A person is known by (issuer, subject) and by nothing else: names and mail addresses change hands.
"""

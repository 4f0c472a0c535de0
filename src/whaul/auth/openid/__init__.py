"""Sign-in by OpenID Connect: what a provider says of itself, and whom it says somebody is. Needs the extra `oidc`.

https://openid.net/specs/openid-connect-core-1_0.html, the code flow, with PKCE (RFC 7636) and the issuer in the answer
(RFC 9207). Does not know what is on the pages, nor what a group may do.
"""

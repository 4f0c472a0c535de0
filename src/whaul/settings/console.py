"""The console: where it listens, and how people sign in to it."""

from datetime import timedelta

from pydantic import Field, field_validator

from whaul import setting_types as types
from whaul.settings.group import SettingGroup, together_with


class Console(SettingGroup):
    """The console: where it listens, and how people sign in to it."""

    console_listen: types.ListenAddress = Field(
        "127.0.0.1:8082",
        description="Where `whaul console` listens: an address, or a name of this machine, and a port. On another "
        "address than loopback it needs `WHAUL_TLS_CERT_FILE`, or a proxy named in `WHAUL_TRUSTED_PROXIES` that "
        "speaks TLS.",
        examples=["0.0.0.0:8082"],
    )
    console_hosts: types.HostNames = Field(
        (),
        description="Names by which browsers may call the console, besides those of this machine itself; separated by "
        "commas. Set the one that your users type, or that your proxy passes on.",
        examples=["whaul.internal.example.com"],
    )
    console_servers: types.ServerUrls = Field(
        (),
        description="Servers whose metrics the console shows, separated by commas; each address of a name is one. "
        "Unset: the server at `WHAUL_PORT` of this machine.",
        examples=["http://whaul-1:8080,http://whaul-2:8080"],
    )
    oidc_issuer: types.Issuer | None = Field(
        None,
        description="The provider by which people sign in to the console, with OpenID Connect: its issuer, exactly as "
        "it calls itself. `https`, or a loopback host. Set `WHAUL_OIDC_CLIENT_ID` and `WHAUL_OIDC_ACCESS_KEYS`, too.",
        examples=["https://login.example.com/realms/staff"],
    )
    oidc_client_id: types.HeaderText | None = Field(
        None, description="The id under which the provider knows the console.", examples=["whaul"]
    )
    oidc_client_secret: types.SecretWord | None = Field(
        None, description="The secret that goes with it. Unset for a public client; PKCE is used in any case."
    )
    oidc_scopes: types.Scopes = Field(
        ("openid", "email"),
        description="What the provider is asked for, separated by commas; `openid` always. Some providers want "
        "`groups` among them.",
        examples=["openid,email,groups"],
    )
    oidc_groups_claim: str = Field(
        "groups",
        min_length=1,
        description="The claim that has a person's groups. A dot leads into a claim: `realm_access.roles`. With "
        "`email` each person is a group of their own, if the provider has verified the address.",
        examples=["roles"],
    )
    oidc_access_keys: types.GroupKeys = Field(
        {},
        description="Which access key a group signs in as: `group=access key`, separated by commas; a name or an id. "
        'Where a group has a comma in its name, a JSON object: `{"group": "access key"}`. '
        "Of several groups the first in this order counts. Whoever is in none cannot sign in.",
        examples=["whatsapp-admins=operator,support=reader"],
    )
    oidc_name: str = Field(
        "single sign-on", max_length=60, description="What the page calls the provider: *Sign in with …*."
    )
    oidc_session: types.Duration = Field(
        timedelta(hours=8),
        ge=timedelta(minutes=1),
        le=timedelta(hours=8),
        description="How long a session lasts that began at the provider, who may have locked somebody out meanwhile.",
        examples=["1h"],
    )

    _provider = field_validator("oidc_client_id", "oidc_access_keys")(together_with("oidc_issuer"))

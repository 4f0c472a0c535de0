"""Meta's Graph API, and the hosts of its files."""

from pydantic import Field

from whaul import __version__
from whaul import setting_types as types
from whaul.settings.group import SettingGroup


class Meta(SettingGroup):
    """Meta's Graph API, and the hosts of its files."""

    graph_url: types.GraphUrl = Field(
        "https://graph.facebook.com",
        description="Address of the Graph API; `https`, or a loopback host.",
        examples=["http://127.0.0.1:9090"],
    )
    graph_version: str = Field("v25.0", pattern=r"^v[0-9]+\.[0-9]+$", description="Graph API version.")
    graph_user_agent: types.HeaderText = Field(
        f"whaul/{__version__}",
        description="User-Agent of every call to Meta; without one some downloads fail.",
    )
    media_hosts: types.Hosts = Field(
        ("lookaside.fbsbx.com", "*.fbcdn.net", "*.whatsapp.net"),
        description="Hosts that may be sent the token for a download; `https` only, except loopback hosts "
        "named here. Written as `WHAUL_PRESIGNED_HOSTS`; a value replaces the default.",
        examples=["127.0.0.1"],
    )

"""Where the server listens, and who is let in."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from whaul import setting_types as types
from whaul.outbound.netguard import is_loopback
from whaul.settings.group import SettingGroup, together_with


class Listener(SettingGroup):
    """Where the server listens, and who is let in."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on, or a name of this machine, which is resolved at the start (IPv4 before "
        "IPv6). `0.0.0.0`: all IPv4 addresses; `::`: all addresses.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=256, description="Worker processes.")
    idle_timeout: float = Field(
        75.0,
        ge=1,
        le=3600,
        description="Seconds that a connection may be idle between requests. Set it longer than a load balancer in "
        "front keeps idle connections; otherwise a call may meet one that is being closed.",
    )
    shutdown_notice: float = Field(
        15.0,
        ge=0,
        le=600,
        description="Seconds from SIGTERM until the server stops listening, in which it serves on and `/readyz` "
        "answers 503. Set it longer than a load balancer takes to turn away: the period of its probe times the "
        "failures that it waits for. 0 stops at once.",
    )
    tls_cert_file: types.ReadableFile | None = Field(
        None, description="Certificate chain (PEM), to serve TLS directly."
    )
    tls_key_file: types.ReadableFile | None = Field(
        None, description="Private key (PEM, not encrypted) of that certificate."
    )
    trusted_proxies: types.Networks = Field(
        (),
        description="Addresses or networks of proxies whose `X-Forwarded-For` is believed, in logs and the audit log; "
        "separated by commas.",
        examples=["127.0.0.1,10.0.0.0/8"],
    )
    auth: Literal["sigv4", "none"] = Field(
        "sigv4",
        description="`none` lets in every program on this machine, but no page in its browser; accepted only on a "
        "loopback listener.",
    )
    root_access_key_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{3,128}$",
        description="Id of an access key that may do everything, for first set-up in containers; never stored.",
    )
    root_secret_access_key: types.RootSecret | None = Field(
        None, description="Secret of the root access key; set both or neither."
    )

    _tls = field_validator("tls_key_file")(together_with("tls_cert_file"))
    _root = field_validator("root_secret_access_key")(together_with("root_access_key_id"))

    @field_validator("auth")
    @classmethod
    def _open_only_on_loopback(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and not is_loopback(info.data.get("host", "")):
            raise ValueError("'none' is accepted on a loopback listener only; set WHAUL_HOST=127.0.0.1")
        return value

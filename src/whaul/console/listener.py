"""Where the console listens, and how browsers find it. Needs nothing of the extra."""

from whaul.outbound.netguard import is_loopback
from whaul.setting_types import listen_parts
from whaul.settings import Settings, SettingsError


def check_listener(settings: Settings) -> None:
    """Refuse a listener at which people would sign in in the clear."""
    is_safe = settings.tls_cert_file is not None or settings.trusted_proxies
    if not is_safe and not is_loopback(listen_parts(settings.console_listen)[0]):
        problem = (
            f"WHAUL_CONSOLE_LISTEN={settings.console_listen}: people sign in there, and that is no loopback "
            "address; set WHAUL_TLS_CERT_FILE and WHAUL_TLS_KEY_FILE, or name the proxy that speaks TLS in "
            "WHAUL_TRUSTED_PROXIES"
        )
        raise SettingsError([problem])


def base_url(settings: Settings) -> str:
    """Say where browsers find the console."""
    host, port = listen_parts(settings.console_listen)
    if settings.console_hosts:
        return f"https://{settings.console_hosts[0]}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nobody finds it there
    name = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls_cert_file is None else 'https'}://{name}:{port}"

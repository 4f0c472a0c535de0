"""The certificate that TLS is served with."""

import ssl

from whaul.settings import Settings, SettingsError


def check_tls(settings: Settings) -> None:
    """Refuse, with `SettingsError`, a certificate and key that TLS cannot be served with."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return
    try:
        # With a password, if an empty one: without, the library would ask whoever sits at the terminal for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert_file, settings.tls_key_file, "")
    except OSError:
        expected = "expected a certificate chain and its private key, both PEM, the key without a password"
        raise SettingsError([f"WHAUL_TLS_CERT_FILE, WHAUL_TLS_KEY_FILE: cannot be used; {expected}"]) from None

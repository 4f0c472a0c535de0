"""The certificate that TLS is served with."""

import ssl

from whaul.outbound.certificates import CertificatesError, read_bundle
from whaul.settings import Settings, SettingsError


def check_tls(settings: Settings) -> None:
    """Refuse, with `SettingsError`, a certificate and key that TLS cannot be served with."""
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return
    try:
        read_bundle("WHAUL_TLS_CERT_FILE", certificate)
        # With a password, if an empty one: without, the library would ask whoever sits at the terminal for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, "")
    except CertificatesError as error:
        raise SettingsError([str(error)]) from None
    except OSError:
        expected = "expected its private key in PEM, without a password"
        raise SettingsError(
            [f"WHAUL_TLS_KEY_FILE: {key} cannot be used with WHAUL_TLS_CERT_FILE ({certificate}); {expected}"]
        ) from None

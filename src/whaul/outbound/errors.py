"""How an exchange failed, in our own words, because pyreqwest's hold the URL.

Only the text of a cause tells what is wrong with TLS or a proxy. The texts below are those of rustls and hyper-util in
pyreqwest 0.15; tests provoke them over real connections.
"""

from pyreqwest.exceptions import (
    ClientClosedError,
    ConnectError,
    DecodeError,
    DetailedPyreqwestError,
    NetworkError,
    PyreqwestError,
    RequestError,
    RequestPanicError,
    RequestTimeoutError,
)

from whaul.errors import Retry

FAILURES: tuple[tuple[type[PyreqwestError], str], ...] = (
    (RequestTimeoutError, "timed out"),
    (ConnectError, "the connection could not be made, or broke"),  # before the response's head, it can be either
    (NetworkError, "the connection broke"),
    (DecodeError, "the connection broke"),  # the body ended before its length
    (ClientClosedError, "the client was closed"),
    (RequestPanicError, "the HTTP exchange failed"),
    (RequestError, "the connection broke"),  # a body that ends early comes as this, too
    (PyreqwestError, "the HTTP exchange failed"),
)
"""The first class that fits names the failure."""

PROXY_REFUSAL = "the proxy wants other credentials; see HTTP_PROXY and HTTPS_PROXY"

REFUSALS: tuple[tuple[str, str], ...] = (
    (
        "CaUsedAsEndEntity",
        "its TLS certificate is a CA certificate (CA:TRUE); a server's own must be made with basicConstraints=CA:FALSE",
    ),
    ("certificate expired", "its TLS certificate has expired, or this machine's clock is wrong"),
    ("certificate not valid yet", "its TLS certificate is not valid yet, or this machine's clock is wrong"),
    ("not valid for any names", "its TLS certificate names no host (it needs a subjectAltName; CN does not count)"),
    ("certificate not valid for name", "its TLS certificate is for another host name than the one that is called"),
    (
        "UnknownIssuer",
        "its TLS certificate is not trusted here; name its authority's certificate in AWS_CA_BUNDLE or SSL_CERT_FILE",
    ),
    ("EkuError", "its TLS certificate is not meant for servers (extendedKeyUsage lacks serverAuth)"),
    (
        "UnsupportedSignatureAlgorithm",
        "its TLS certificate is signed with an algorithm that is too weak, such as SHA-1",
    ),
    ("BadSignature", "the signature of its TLS certificate is wrong, or its authority's key too weak"),
    ("invalid peer certificate", "its TLS certificate cannot be used"),
    ("received corrupt message", "it does not speak TLS at this port; call it with http:// if that is meant"),
    ("received fatal alert: ProtocolVersion", "it does not speak TLS 1.2 or newer"),
    ("received fatal alert: CertificateRequired", "it wants a client certificate, and whaul has none"),
    (
        "received fatal alert: HandshakeFailure",
        "it refused the TLS handshake: it wants a client certificate, or offers old ciphers only",
    ),
    ("proxy authorization required", PROXY_REFUSAL),
    ("tunnel error", "the proxy refused to connect to it"),
)
"""Text in a cause, and what it means. The first that fits counts; trying again does not help."""

MAY_PASS = frozenset({"the proxy refused to connect to it"})
"""Refusals that may pass after all: a proxy also refuses when it cannot reach the host."""

NOT_CONNECTED = "client error (Connect)"
"""hyper-util's cause of a failure before the connection is made: DNS, TCP or TLS."""


class HttpError(Exception):
    """No usable response came; the text says how it failed, and holds nothing of the request."""

    def __init__(self, message: str, *, arrived: bool = True, retry: Retry = Retry.YES) -> None:
        """`arrived` is false when the peer cannot have got any of the request."""
        super().__init__(message)
        self.arrived = arrived
        self.retry = retry


class HttpTimeoutError(HttpError):
    """The peer fell silent."""


class HostRefusedError(HttpError):
    """The host fell silent too often, and was not called."""


def translated(error: TimeoutError | PyreqwestError) -> HttpError:
    """Return pyreqwest's error, or a timeout, as an `HttpError`."""
    arrived = not _is_unconnected(error)
    if isinstance(error, TimeoutError):  # pyreqwest's own is one too
        return HttpTimeoutError("timed out", arrived=arrived)
    text, retry = described(error)
    return HttpError(text, arrived=arrived, retry=retry)


def described(error: PyreqwestError) -> tuple[str, Retry]:
    """Return what happened, and whether trying again can help."""
    causes = _causes(error)[1:]  # the first one holds the URL, which may hold any of these texts
    for sign, text in REFUSALS:
        if any(sign in cause for cause in causes):
            return text, Retry.YES if text in MAY_PASS else Retry.NO
    return next(text for kind, text in FAILURES if isinstance(error, kind)), Retry.YES


def _is_unconnected(error: BaseException) -> bool:
    """Whether there was never a connection. The class does not tell: `ConnectError` comes later too."""
    return NOT_CONNECTED in _causes(error)


def _causes(error: BaseException) -> list[str]:
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return [cause["message"] for cause in causes or ()]

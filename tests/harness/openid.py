"""A provider of OpenID Connect on a loopback port: real keys, codes that are good once, PKCE, and lies on demand."""

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key

ACCESS_TOKEN = "an-access-token"
CLIENT_ID, CLIENT_SECRET = "whaul console", "s+cret/of=the:client"  # what has to be encoded in a header
Claims = dict[str, Any]


def new_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid})


@dataclass
class OpenIdProvider:
    """What it says and does can be changed while it runs."""

    port: int
    host: str = "127.0.0.1"
    """What it calls itself: to a browser `localhost` is another site."""
    keys: dict[str, Key] = field(default_factory=lambda: {"first": new_key("first")})
    """The newest signs."""
    person: Claims = field(default_factory=lambda: {"sub": "248289761001", "email": "ada@example.com"})
    groups: list[str] = field(default_factory=lambda: ["admins"])
    document: Claims = field(default_factory=dict)
    """What discovery says otherwise."""
    answer: dict[str, str] = field(default_factory=dict)
    """What the answer to the browser says otherwise; without a value it does not say it."""
    sign: Callable[[Mapping[str, Any], Claims, Key], str] = field(default_factory=lambda: signed)
    claims: Claims = field(default_factory=dict)
    """What ID tokens say otherwise."""
    told: Claims | None = None
    """What `userinfo_endpoint` says; None if there is none."""
    asks: bool = False
    """Whether somebody has to sign in there, on a page."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""
    fails: int = 0
    """The status with which everything is answered, if not 0."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    """What was asked for, by the code, until that is exchanged."""
    given: list[str] = field(default_factory=list)
    """The codes and ID tokens that were given."""

    def reset(self) -> None:
        """Be as new, with the same keys."""
        vars(self).update(vars(OpenIdProvider(self.port, self.host, self.keys)))

    @property
    def issuer(self) -> str:
        return f"http://{self.host}:{self.port}/realms/staff"

    @property
    def environ(self) -> dict[str, str]:
        """The settings of a console that trusts it."""
        return {
            "WHAUL_OIDC_ISSUER": self.issuer,
            "WHAUL_OIDC_CLIENT_ID": CLIENT_ID,
            "WHAUL_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "WHAUL_OIDC_NAME": "Example",
        }

    def discovery(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?theme=plain",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/logout?theme=plain",
            "authorization_response_iss_parameter_supported": True,
            **({} if self.told is None else {"userinfo_endpoint": f"{self.issuer}/userinfo"}),
        } | self.document

    def key_set(self) -> Claims:
        return {"keys": [key.as_dict(private=False) for key in self.keys.values()]}

    def authorized(self, asked: Mapping[str, str]) -> str:
        """Let somebody in; return where their browser goes."""
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(24)
        self.given.append(code)
        self.codes[code] = dict(asked)
        answer = {"code": code, "state": asked["state"], "iss": self.issuer} | self.answer
        return f"{asked['redirect_uri']}?{urlencode({name: value for name, value in answer.items() if value})}"

    def token(self, form: Mapping[str, str], authorization: str) -> tuple[int, Claims]:
        """Exchange a code."""
        kind, _, pair = authorization.partition(" ")
        expected = urlencode({CLIENT_ID: CLIENT_SECRET}).replace("=", ":", 1)
        if kind != "Basic" or base64.b64decode(pair).decode() != expected:
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if (
            asked is None
            or challenge != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
            or form["grant_type"] != "authorization_code"
        ):
            return 400, {"error": "invalid_grant", "error_description": form["code"]}
        token = self.id_token(asked["nonce"])
        self.given.append(token)
        return 200, {"id_token": token, "access_token": ACCESS_TOKEN, "token_type": "Bearer"}

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        kid, key = list(self.keys.items())[-1]
        header = {"alg": "ES256", "kid": kid, "x5t": "unknown members are allowed"}
        return self.sign(header, claims | self.person | {"groups": self.groups} | self.claims, key)


def signed(header: Mapping[str, Any], claims: Claims, key: Key) -> str:
    """Sign as a provider does."""
    return jwt.encode(dict(header), claims, key, registry=jws.JWSRegistry(strict_check_header=False))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        provider, place = self._provider(), urlsplit(self.path)
        path = place.path.removeprefix("/realms/staff")
        if provider.fails:
            self._send(provider.fails, b"", "text/plain")
        elif path == "/.well-known/openid-configuration":
            self._send(200, provider.discovery())
        elif path == "/keys":
            self._send(200, provider.key_set())
        elif path == "/userinfo" and self.headers["Authorization"] == f"Bearer {ACCESS_TOKEN}":
            self._send(200, provider.told or {})
        elif path == "/authorize" and provider.asks:
            fields = "".join(
                f'<input type=hidden name="{html.escape(name)}" value="{html.escape(value)}">'
                for name, value in parse_qsl(place.query)
            )
            page = f'<form method=post action="{place.path}">{fields}<button>Sign in as Ada</button></form>'
            self._send(200, page.encode(), "text/html")
        elif path == "/authorize":
            self._redirect(provider.authorized(dict(parse_qsl(place.query))))
        elif path == "/logout":
            asked = dict(parse_qsl(place.query))
            assert asked["client_id"] == CLIENT_ID
            self._redirect(asked["post_logout_redirect_uri"])
        else:
            self._send(404, b"no such page", "text/plain")

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        provider = self._provider()
        if provider.fails:
            self._send(provider.fails, b"", "text/plain")
        elif self.path.endswith("/token"):
            self._send(*provider.token(form, self.headers.get("Authorization", "")))
        else:
            self._redirect(provider.authorized(form))

    def _provider(self) -> OpenIdProvider:
        provider = cast("OpenIdProvider", self.server.provider)  # type: ignore[attr-defined]
        provider.requests.append(f"{self.command} {urlsplit(self.path).path.removeprefix('/realms/staff')}")
        return provider

    def _redirect(self, place: str) -> None:
        self.send_response(303)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, status: int, body: Claims | bytes, kind: str = "application/json") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def openid_provider(host: str = "127.0.0.1") -> Iterator[OpenIdProvider]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        provider = OpenIdProvider(server.server_port, host)
        server.provider = provider  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()

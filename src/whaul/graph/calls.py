"""One call of the Graph API: the token, the proof, the usage headers, and what is not a success.

The token goes to the configured Graph API and nowhere else.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from pydantic import SecretStr
from pyreqwest.http import Url

from whaul.errors import AccessDeniedByMetaException, DependencyException
from whaul.graph.errors import READING, CallKind, call_error, error_from
from whaul.graph.usage import usage_percent
from whaul.model import GraphToken
from whaul.outbound.http import Answer, HttpClient, HttpFailure
from whaul.outbound.netguard import MediaHosts
from whaul.secrets import secret_word

T = TypeVar("T")


class GraphCalls:
    """Calls over the shared HTTP client; `GraphClient` is made of classes that stand on this one."""

    def __init__(
        self,
        http: HttpClient,
        *,
        url: str,
        version: str,
        user_agent: str,
        media_hosts: MediaHosts,
        on_usage: Callable[[Mapping[str, float]], None] = lambda _usage: None,
    ) -> None:
        """`url` is the API's base without version; `user_agent` is sent on every call.

        `on_usage` is told the percentages of Meta's usage headers whenever an answer has some.
        """
        self._http = http
        self._base = url
        self._version = version
        self._user_agent = user_agent
        self._media_hosts = media_hosts
        self._on_usage = on_usage

    async def _get(self, token: GraphToken, path: str, query: dict[str, str], doing: str) -> Answer:
        return await self._call("GET", self._url(token, path, query), token, doing)

    async def _post(self, token: GraphToken, path: str, body: Mapping[str, str], doing: str) -> Answer:
        return await self._call("POST", self._url(token, path), token, doing, body=msgspec.json.encode(body))

    async def _call(
        self, method: str, url: Url, token: GraphToken, doing: str, *, body: bytes = b"", kind: CallKind = READING
    ) -> Answer:
        """Make a call with a JSON body, if with any; raises unless the answer is a success."""
        headers = self._headers(token) | ({"content-type": "application/json"} if body else {})
        try:
            answer = await self._http.call(method, url, headers, body)
        except HttpFailure as failure:
            raise call_error(failure, doing, kind) from failure
        self._check(answer, doing, kind)
        return answer

    def _check(self, answer: Answer, doing: str, kind: CallKind) -> None:
        """Take note of Meta's usage headers; raise unless the answer is a success."""
        usage = usage_percent(answer.headers)
        if usage:
            self._on_usage(usage)
        if answer.status != 200:
            raise error_from(answer, doing, kind)

    def _url(
        self, token: GraphToken, path: str, query: Mapping[str, str] | None = None, *, version: str | None = None
    ) -> Url:
        """The URL of an object or edge, with the proof if need be; `version` is the settings' if None."""
        members = dict(query or {})
        if token.app_secret is not None:
            members["appsecret_proof"] = appsecret_proof(token.access_token, token.app_secret)
        url = f"{self._base}/{version or self._version}/{quote(path)}"
        return Url(url + (f"?{urlencode(members)}" if members else ""))

    def _headers(self, token: GraphToken) -> dict[str, str]:
        try:
            word = secret_word(token.access_token.get_secret_value())
        except ValueError as error:
            raise AccessDeniedByMetaException(
                f"The stored access token {error}. Link the account again (whaul link)."
            ) from None
        return {"authorization": f"Bearer {word}", "user-agent": self._user_agent}


def appsecret_proof(token: SecretStr, app_secret: SecretStr) -> str:
    """Compute the proof that a call knows the app secret.

    https://developers.facebook.com/docs/facebook-login/security#proof
    """
    key, message = app_secret.get_secret_value().encode(), token.get_secret_value().encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def decoded(answer: Answer, kind: type[T], doing: str) -> T:
    """Read an answer's JSON. Raises `DependencyException` for what is not documented."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise not_documented(doing) from None


def not_documented(doing: str) -> DependencyException:
    """Build the error for an answer that is not what Meta documents."""
    return DependencyException(f"Meta's answer to {doing} is not the documented JSON.")

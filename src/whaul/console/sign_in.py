"""Signing in and out. Whoever is signed in is an access key: its policy holds, and with the key the session ends.

There are three ways, and each ends with `SignIns.begin`:

- A link that a command has made. Its token is in the fragment, which no log and no proxy sees; the page posts it.
- An access key. The page signs one request with it in the browser, as an AWS SDK signs a call, and sends only the
  signature. The body is a challenge, so that a signature that somebody has seen signs nobody in a second time.
- A provider, which says in which groups somebody is (`openid`).
"""

import hmac
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from whaul.auth.authenticator import Authenticator
from whaul.auth.caller import Caller
from whaul.errors import ApiError, ThrottledRequestException
from whaul.model import KeyUse
from whaul.outbound.netguard import is_loopback
from whaul.registry.console_sign_ins import SESSION_LIFE
from whaul.registry.registry import Registry

SERVICE: Final = "whaul-console"
"""What the signature of a sign-in is scoped to, so that it is good for nothing else."""
CHALLENGE_LIFE: Final = 120
"""Seconds."""
ATTEMPTS: Final = 10
"""Attempts to sign in that may fail in a minute, of one address."""
MINUTE: Final = 60.0
_ADDRESSES: Final = 10_000
"""Addresses whose attempts are remembered."""


class Challenges:
    """What a page signs: nobody has to remember those that were handed out, only those that were used."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._used: dict[str, float] = {}

    def make(self) -> str:
        """Make one."""
        text = f"{int(self._clock())}.{secrets.token_urlsafe(16)}"
        return f"{text}.{self._proof(text)}"

    def use(self, challenge: str) -> bool:
        """Use one up; False if it is not ours, too old, or was used before."""
        now = self._clock()
        text, _, proof = challenge.rpartition(".")
        if not hmac.compare_digest(proof.encode(errors="replace"), self._proof(text).encode()):
            return False
        self._used = {used: end for used, end in self._used.items() if end > now}
        end = int(text.partition(".")[0]) + CHALLENGE_LIFE
        if end <= now or challenge in self._used:
            return False
        self._used[challenge] = end
        return True

    def _proof(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(errors="replace"), "sha256").hex()


class Cookie(NamedTuple):
    """The cookie that holds a session's token."""

    name: str
    is_secure: bool


class Attempts:
    """How often it was tried in vain to sign in, by address."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._failed: dict[str, list[float]] = {}

    def check(self, client: str | None) -> None:
        """Refuse, with ThrottledRequestException, who has failed too often."""
        recent = self._recent(client)
        if len(recent) >= ATTEMPTS:
            told = "There were too many attempts to sign in; wait a minute."
            raise ThrottledRequestException(told, retry_after=recent[0] + MINUTE - self._clock())

    def fail(self, client: str | None) -> None:
        """Count one."""
        recent = [*self._recent(client), self._clock()]
        self._failed.pop(client or "", None)
        self._failed[client or ""] = recent
        if len(self._failed) > _ADDRESSES:
            del self._failed[next(iter(self._failed))]

    def _recent(self, client: str | None) -> list[float]:
        now = self._clock()
        return [at for at in self._failed.get(client or "", []) if now - at < MINUTE]


class RegistryKeys:
    """The access keys as the registry has them now: nothing is kept, so that a disabled one is out at once."""

    def __init__(self, registry: Registry) -> None:
        self.access_key = registry.access_keys.find


class Session(NamedTuple):
    """Who is signed in."""

    token: str
    caller: Caller
    person: str | None
    """Whom a provider named."""


class SignIns:
    """How people come in."""

    def __init__(
        self,
        registry: Registry,
        authenticator: Authenticator,
        clock: Callable[[], float] = time.monotonic,
        *,
        port: int,
        has_tls: bool,
        has_provider: bool = False,
    ) -> None:
        """`port` is where it listens, and `has_tls` whether with TLS. `clock` is monotonic, in seconds.

        Without a provider, those whom one named are not let in any more.
        """
        self._registry = registry
        self._authenticator = authenticator
        self._port = port
        self._has_tls = has_tls
        self._has_provider = has_provider
        self.attempts = Attempts(clock)
        self.challenges = Challenges()

    async def session(self, request: Request, *, uses: bool = True) -> Session | None:
        """Return who makes a request, or None; `uses` is whether that keeps the session alive."""
        token = request.cookies.get(self._cookie(request).name)
        if not token:
            return None
        found = await self._registry.console_sign_ins.find(token, uses=uses)
        if found is None or (found.person is not None and not self._has_provider):
            return None
        try:
            return Session(token, await self.caller(found.access_key_id), found.person)
        except ApiError:  # the key is disabled, deleted, or has expired
            return None

    async def by_link(self, token: str) -> Caller | None:
        """Return whose link it is, which cannot be used again; None if it is unknown, used or too old."""
        access_key_id = await self._registry.console_sign_ins.use_link(token.strip().rpartition("#")[2])
        return None if access_key_id is None else await self.caller(access_key_id)

    async def by_signature(self, request: Request, body: bytes) -> Caller | None:
        """Return who signed a challenge; None if it cannot be used any more. Raises what the signature lacks."""
        scope = request.scope
        path, query = scope["raw_path"], scope["query_string"]
        caller = await self._authenticator.authenticate("POST", path, query, tuple(scope["headers"]), body)
        return caller if self.challenges.use(body.decode("latin-1")) else None

    async def caller(self, access_key_id: str) -> Caller:
        """Return the caller of an access key that was proven. Raises ApiError unless the key can still be used."""
        return await self._authenticator.caller(access_key_id)

    async def begin(
        self,
        request: Request,
        caller: Caller,
        response: Response,
        *,
        until: datetime | None = None,
        person: str | None = None,
    ) -> None:
        """Begin a session, which ends at `until` at the latest, and put it into the browser."""
        sign_ins = self._registry.console_sign_ins
        cookie = self._cookie(request)
        before = request.cookies.get(cookie.name)
        if before:
            await sign_ins.end(before)
        token = await sign_ins.begin(caller.access_key_id, until, person)
        await self._registry.access_keys.record_uses({caller.access_key_id: KeyUse(datetime.now(UTC), "ConsoleSignIn")})
        response.set_cookie(
            cookie.name,
            token.get_secret_value(),
            max_age=int(SESSION_LIFE.total_seconds()),
            path="/",
            secure=cookie.is_secure,
            httponly=True,
            samesite="strict",
        )

    async def end(self, session: Session) -> None:
        """Sign out."""
        await self._registry.console_sign_ins.end(session.token)

    def forget(self, request: Request, response: Response) -> None:
        """Take a session that has ended out of the browser."""
        cookie = self._cookie(request)
        response.delete_cookie(cookie.name, path="/", secure=cookie.is_secure, httponly=True, samesite="strict")

    def address(self, request: Request, path: str) -> str:
        """Return the address of a page of ours, under the name by which the browser called us, which is an allowed one.

        A proxy that speaks TLS for us does not say so in a way that can be believed, so it goes by the cookie's rule.
        """
        scheme = "https" if self._cookie(request).is_secure else "http"
        return f"{scheme}://{request.headers['host'].lower()}{path}"

    def attempt_cookie(self, request: Request) -> Cookie:
        """Name the cookie of somebody who is away at a provider."""
        cookie = self._cookie(request)
        return cookie._replace(name=f"{cookie.name}-attempt")

    def _cookie(self, request: Request) -> Cookie:
        """Name the cookie: a secure one, except on this machine without TLS, where not every browser keeps it.

        There all ports share their cookies, so it has the port in its name.
        """
        if self._has_tls or not is_loopback(request.url.hostname or ""):
            return Cookie("__Host-whaul", is_secure=True)
        return Cookie(f"whaul-{self._port}", is_secure=False)

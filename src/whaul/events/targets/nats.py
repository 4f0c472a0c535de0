"""NATS JetStream: one message for each event, and an acknowledgement of the stream for each.

The library finds further servers by itself and connects again when it wants; both are turned off. A connection goes to
an address that was judged before, and one that broke is thrown away: the next events make a new one.

https://docs.nats.io/nats-concepts/jetstream
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from whaul.events.envelope import header_value
from whaul.events.model import Accepted, Event, Failed, Outcome, Outcomes, Reason
from whaul.events.targets import MAX_KEPT, Options, TargetError, delivery_id, sentence
from whaul.events.targets.brokers import TIMEOUT, Brokers, check_names, down, failed, no_answer, read_address
from whaul.outbound.errors import HttpError
from whaul.outbound.netguard import ForbiddenUrlError
from whaul.threads import in_daemon_thread

if TYPE_CHECKING:
    import ssl

    from nats.aio.client import Client
    from nats.aio.msg import Msg

PORT: Final = 4222
DEDUPLICATED_BY: Final = "Nats-Msg-Id"
CREDENTIALS: Final = ("user", "password", "token", "nkey", "creds")
"""What may be given: `creds` is a whole file of that name, `nkey` a seed."""
CLOSING: Final = 1.0
"""Seconds for the end of a connection."""
_HEADER_ROOM: Final = len("NATS/1.0\r\n\r\n")
_SUBJECT: Final = re.compile(r"(?!\$)[^\s.*>/?#%\x00-\x1f\x7f-\U0010ffff]+(?:\.[^\s.*>/?#%\x00-\x1f\x7f-\U0010ffff]+)*")
_REASONS: Final[Mapping[int, Reason]] = {
    10054: "impossible",  # larger than a message of this stream may be
    10047: "down",  # the account's storage is used up
    10077: "down",  # the stream is full, and set to refuse what is new
    10109: "closed",  # the stream is sealed
}
"""https://github.com/nats-io/nats-server/blob/main/server/errors.json"""
_DENIED: Final = re.compile(r"authori[sz]ation|authentication|permissions violation|expired|revoked", re.IGNORECASE)


class NatsTarget:
    """One subject."""

    max_batch = 10

    def __init__(self, address: str, options: Options, brokers: Brokers) -> None:
        """Raises `TargetError`."""
        try:
            import nats  # noqa: F401, PLC0415 - an extra: only who has such a destination needs it
        except ImportError:
            raise TargetError("NATS needs packages that are not installed; run pip install 'whaul[nats]'.") from None
        self._places, self._subject = read_address(address, PORT)
        self._encrypted = address.startswith("tls://")
        if not _SUBJECT.fullmatch(self._subject):
            raise TargetError(f"{self._subject[:256]!r} is no subject; expected for example nats://host:4222/whatsapp.")
        brokers.check(self._places, is_encrypted=self._encrypted, wanted="tls://")
        check_credentials(options.headers)
        self._credentials = options.headers
        self._brokers = brokers
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._tls: ssl.SSLContext | None = None

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Publish events in their order, and wait until the stream has them."""
        until = asyncio.get_running_loop().time() + self._brokers.timeout
        try:
            async with asyncio.timeout_at(until):
                connection = await self._connected()
        except _ConnectError as error:
            return failed(error.failed, events)
        except TimeoutError:
            return failed(no_answer(), events)
        try:
            return await connection.publish(self._subject, [self._message(event) for event in events], until)
        finally:
            if connection.is_lost:
                await self._forget(connection)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._forget(self._connection)

    def _message(self, event: Event) -> tuple[bytes, dict[str, str]]:
        named = {name: header_value(value) for name, value in self._brokers.headers(event).items()}
        return self._brokers.envelopes.aws(event), {DEDUPLICATED_BY: delivery_id(event)} | named

    async def _forget(self, connection: "_Connection") -> None:
        if self._connection is connection:
            self._connection = None
        await connection.close()

    async def _connected(self) -> "_Connection":
        async with self._connecting:
            if self._connection is None or self._connection.is_lost:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> "_Connection":
        """Try each address of each host. Raises `_ConnectError`."""
        if self._tls is None:
            self._tls = await in_daemon_thread(self._brokers.tls)
        problem = down("Its host has no address.")
        for place in self._places:
            try:
                addresses = await self._brokers.names.addresses(place)
            except HttpError as error:
                problem = down(sentence(error))
                continue
            except ForbiddenUrlError as forbidden:
                problem = Failed("refused", f"Not called: {forbidden}.")
                continue
            for address in addresses:
                connection = _Connection()
                try:
                    await connection.open(
                        f"nats://{f'[{address}]' if ':' in address else address}:{place.port}",
                        place.host.strip("[]"),
                        self._tls,
                        self._credentials,
                        encrypted=self._encrypted,
                    )
                except _ConnectError as error:
                    problem = error.failed
                else:
                    return connection
        raise _ConnectError(problem)


class _ConnectError(Exception):
    """There is no connection."""

    def __init__(self, problem: Failed) -> None:
        super().__init__(problem.detail)
        self.failed = problem


class _Connection:
    """A connection to a server, until it breaks."""

    def __init__(self) -> None:
        self._client: Client
        self._inbox = ""
        self._number = 0
        self._acks: dict[str, asyncio.Future[Outcome]] = {}
        self._lost: asyncio.Future[Failed] = asyncio.get_running_loop().create_future()
        self._problem: Exception | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it is good for nothing any more."""
        return self._lost.done()

    async def open(
        self, url: str, host: str, tls: "ssl.SSLContext", credentials: Mapping[str, str], *, encrypted: bool
    ) -> None:
        """Connect. Raises `_ConnectError`."""
        import nats.errors  # noqa: PLC0415
        from nats.aio.client import Client, RawCredentials  # noqa: PLC0415

        class Guarded(Client):
            async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
                if encrypted and initial_connection and not info.get("tls_required"):
                    raise nats.errors.SecureConnWantedError  # before credentials are sent
                info.pop("connect_urls", None)  # these hosts nobody has judged
                await super()._process_info(info, initial_connection)

        self._client = Guarded()
        creds = credentials.get("creds")
        try:
            await self._client.connect(
                url,
                name="whaul",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=int(TIMEOUT),
                error_cb=self._on_error,
                closed_cb=self._on_close,
                tls=tls,
                tls_hostname=host,
                user=credentials.get("user"),
                password=credentials.get("password"),
                token=credentials.get("token"),
                nkeys_seed_str=credentials.get("nkey"),
                user_credentials=None if creds is None else RawCredentials(creds),
            )
            self._inbox = self._client.new_inbox()
            await self._client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        except (OSError, nats.errors.Error, ValueError) as error:
            self._lose(_refused(self._problem or error))
        except BaseException:
            self._lose(down("Given up."))
            raise
        finally:
            if self.is_lost:
                await self.close()
        if self._lost.done():
            raise _ConnectError(self._lost.result())

    async def publish(
        self, subject: str, messages: Sequence[tuple[bytes, dict[str, str]]], until: float
    ) -> list[Outcome]:
        """Publish messages; the outcome of each. A server that is silent loses the connection.

        `until` is by the event loop's clock.
        """
        acks: list[asyncio.Future[Outcome]] = []

        def give_up(lost: asyncio.Future[Failed]) -> None:
            for ack in acks:
                if not ack.done():
                    ack.set_result(lost.result())

        self._lost.add_done_callback(give_up)
        try:
            async with asyncio.timeout_at(until):
                for payload, headers in messages:
                    acks.append(await self._publish(subject, payload, headers))
                await asyncio.wait(acks)
        except TimeoutError:
            self._lose(no_answer())
        finally:
            self._lost.remove_done_callback(give_up)
            for token in [token for token, ack in self._acks.items() if ack in acks]:
                del self._acks[token]
        return [ack.result() if ack.done() else self._lost.result() for ack in acks]

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> asyncio.Future[Outcome]:
        """Send one message; the future is of what the stream says."""
        ack: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        size = len(payload) + _size_of(headers)
        if self.is_lost:
            ack.set_result(self._lost.result())
        elif size > self._client.max_payload:
            ack.set_result(
                Failed("impossible", f"It has {size} bytes; the server takes at most {self._client.max_payload}.")
            )
        else:
            self._number += 1
            self._acks[str(self._number)] = ack
            try:
                await self._client.publish(subject, payload, f"{self._inbox}.{self._number}", headers)
            except Exception as error:  # noqa: BLE001 - whatever it was, the connection cannot be relied on
                self._lose(_refused(error))
        return ack

    async def close(self) -> None:
        """Close it, in some time at most."""
        self._lose(down("The connection was closed."))
        with suppress(Exception):
            async with asyncio.timeout(CLOSING):
                await self._client.close()

    async def _on_ack(self, message: "Msg") -> None:
        ack = self._acks.pop(message.subject.rpartition(".")[2], None)
        if ack is not None and not ack.done():
            ack.set_result(_outcome(message))

    def _lose(self, problem: Failed) -> None:
        if not self._lost.done():
            self._lost.set_result(problem)

    async def _on_error(self, error: Exception) -> None:
        self._problem = error
        if _DENIED.search(str(error)):
            self._lose(_refused(error))

    async def _on_close(self) -> None:
        self._lose(down("The connection broke."))


def check_credentials(given: Mapping[str, str]) -> None:
    """Refuse what cannot be logged in with. Raises `TargetError`, which shows no value."""
    import nkeys  # noqa: PLC0415

    check_names(given, CREDENTIALS)
    ways = [name for name in ("user", "token", "nkey", "creds") if name in given]
    if given and (len(ways) != 1 or ("password" in given) != ("user" in given)):
        raise TargetError("NATS wants user and password, or a token, or an nkey, or a .creds file.")
    try:
        if "nkey" in given:
            nkeys.from_seed(bytearray(given["nkey"].encode()))
        if "creds" in given:
            _, _, seed = given["creds"].partition("-----BEGIN USER NKEY SEED-----")
            nkeys.from_seed(bytearray(seed.split()[0].encode()))
    except (nkeys.NkeysError, ValueError, IndexError):
        raise TargetError("The credentials hold no seed of an nkey.") from None


def _size_of(headers: Mapping[str, str]) -> int:
    """Bytes that headers have on the way; the server counts them with the payload."""
    return _HEADER_ROOM + sum(len(name) + len(value) + len(": \r\n") for name, value in headers.items())


def _refused(error: Exception) -> Failed:
    """Say why there is no connection, or none any more."""
    text = (str(error) or type(error).__name__).removeprefix("nats: ").strip("'")[:MAX_KEPT]
    return Failed("closed" if _DENIED.search(text) else "down", text)


def _outcome(message: "Msg") -> Outcome:
    """Read what a stream says of a message.

    https://docs.nats.io/reference/reference-protocols/nats_api_reference#publishing-to-streams
    """
    if (message.headers or {}).get("Status") == "503":
        return Failed("closed", "No stream takes this subject, or JetStream is off there.")
    try:
        answer = json.loads(message.data)
        error = answer.get("error")
        if error is None:
            return Accepted(f"stream {answer['stream']}")
        number, code = int(error.get("err_code", 0)), int(error["code"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return down("The answer is not one of a stream.")
    reason = _REASONS.get(number) or ("down" if code >= 500 else "rejected")
    return Failed(reason, f"{error.get('description')} ({number})"[:MAX_KEPT])

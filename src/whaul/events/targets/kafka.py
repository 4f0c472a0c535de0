"""Kafka: one record for each event, by an idempotent producer that waits for all replicas.

The client is librdkafka, which works in threads of its own. One more thread, of ours, takes up what it says. A record
is a batch of its own, so that a broker which refuses one for its size refuses no other with it. What a producer does
when a cluster is away is left to whaul: it is thrown away with its queue, and the next events make a new one.

The library looks names up by itself. The hosts of the address are judged before it is started; those that a cluster
names are judged before the first record is sent, unless the operator lists the hosts of the address. What cannot be
judged: an address that changes between our look-up and the library's, and hosts that a cluster names later. And the
library calls the hosts that it was told of at once; `_LOOKING` makes it wait, so that only a cluster which takes most
of a second to say them has them called before they are judged.

https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html
"""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from whaul.events.model import Accepted, Event, Failed, Outcome, Outcomes, Reason
from whaul.events.targets import MAX_KEPT, Options, TargetError
from whaul.events.targets.brokers import Brokers, check_names, down, failed, no_answer, read_address
from whaul.outbound.errors import HttpError
from whaul.outbound.netguard import ForbiddenUrlError, HostPort
from whaul.threads import in_daemon_thread

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

T = TypeVar("T")

PORT: Final = 9092
MAX_RECORD: Final = 16 * 1024**2
"""Bytes of a record that are sent at all; what a broker takes, it says itself."""
CREDENTIALS: Final = (
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)
"""What may be given, by the names of Kafka's clients."""
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
ASK: Final = 2.0
"""Seconds for a cluster to say what it is, before it is asked again."""
CLOSING: Final = 1.0
"""Seconds for the end of a producer."""
LOOK: Final = 0.25
"""Seconds that our thread waits for something to be said."""
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_CONFIGURATION: Final[Mapping[str, Any]] = {
    "client.id": "whaul",
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # as Java's clients: a conversation has the same partition, whoever writes
    "linger.ms": 0,
    "batch.num.messages": 1,
    "message.max.bytes": MAX_RECORD,
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 10_000,
    "topic.metadata.propagation.max.ms": 1000,
    "log.connection.close": False,
}
_LOOKING: Final[Mapping[str, Any]] = {
    "enable.idempotence": False,  # else it would call the hosts that the cluster names, to ask for a number
    "reconnect.backoff.ms": 2000,  # half of it, at most a second, passes between two connections
    "statistics.interval.ms": 50,  # they say which hosts were named
}
"""For the producer that asks a cluster for its hosts."""
_REASONS: Final[Mapping[str, Reason]] = {
    "MSG_SIZE_TOO_LARGE": "impossible",
    "RECORD_LIST_TOO_LARGE": "impossible",
    "TOPIC_AUTHORIZATION_FAILED": "closed",
    "CLUSTER_AUTHORIZATION_FAILED": "closed",
    "SASL_AUTHENTICATION_FAILED": "closed",
    "UNSUPPORTED_SASL_MECHANISM": "closed",
    "UNKNOWN_TOPIC_OR_PART": "closed",
    "TOPIC_EXCEPTION": "closed",
    "_UNKNOWN_TOPIC": "closed",
    "_AUTHENTICATION": "closed",
    "_INVALID_ARG": "closed",  # a file with a certificate or a key that cannot be used
    "INVALID_RECORD": "rejected",
    "POLICY_VIOLATION": "rejected",
}
"""https://kafka.apache.org/protocol#protocol_error_codes; those with _ are librdkafka's. All others mean `down`."""
_LOST: Final = frozenset(("_ALL_BROKERS_DOWN", "_AUTHENTICATION", "_SSL", "_FATAL"))
"""After these a producer is thrown away."""


class KafkaTarget:
    """One topic."""

    max_batch = 10

    def __init__(self, address: str, options: Options, brokers: Brokers) -> None:
        """Raises `TargetError`."""
        try:
            import confluent_kafka  # noqa: F401, PLC0415 - an extra: only who has such a destination needs it
        except ImportError:
            raise TargetError("Kafka needs a package that is not installed; run pip install 'whaul[kafka]'.") from None
        self._places, self._topic = read_address(address, PORT)
        if not _TOPIC.fullmatch(self._topic):
            raise TargetError(f"{self._topic[:256]!r} is no topic; expected for example kafka://host:9092/whatsapp.")
        self._security = security(options.headers)
        encrypted = self._security["security.protocol"].endswith("SSL")
        brokers.check(self._places, is_encrypted=encrypted, wanted="encrypted (security.protocol=SSL or SASL_SSL)")
        self._brokers = brokers
        self._producer: _Producer | None = None
        self._starting = asyncio.Lock()

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Produce events in their order, and wait until all replicas have them."""
        until = asyncio.get_running_loop().time() + self._brokers.timeout
        try:
            async with asyncio.timeout_at(until):
                producer = await self._started(until)
        except _StartError as error:
            return failed(error.failed, events)
        except TimeoutError:
            return failed(no_answer(), events)
        try:
            return await producer.produce(self._topic, [self._record(event) for event in events], until)
        finally:
            if producer.lost is not None:
                await self._forget(producer)

    async def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            await self._forget(self._producer)

    def _record(self, event: Event) -> dict[str, Any]:
        headers = [(name, value.encode()) for name, value in self._brokers.headers(event).items()]
        return {"value": self._brokers.envelopes.aws(event), "key": event.conversation.hex(), "headers": headers}

    async def _forget(self, producer: "_Producer") -> None:
        if self._producer is producer:
            self._producer = None
        await producer.close()

    async def _started(self, until: float) -> "_Producer":
        async with self._starting:
            if self._producer is None or self._producer.lost is not None:
                self._producer = await self._start(until)
            return self._producer

    async def _start(self, until: float) -> "_Producer":
        """Start a producer whose hosts are judged. Raises `_StartError`."""
        known = [place for place in self._places if await self._is_there(place)]
        if not known:
            raise _StartError(down("Its host name could not be looked up."))
        configuration = {
            **_CONFIGURATION,
            **self._security,
            "bootstrap.servers": ",".join(f"{place.host}:{place.port}" for place in known),
            "message.timeout.ms": int(self._brokers.timeout * 1000),
        }
        if not all(self._brokers.hosts.is_listed(place) for place in self._places):
            await self._judge_cluster(configuration, until)
        producer = _Producer(configuration)
        try:
            await producer.open(self._topic, until)
        except BaseException:
            await producer.close()
            raise
        return producer

    async def _judge_cluster(self, configuration: Mapping[str, Any], until: float) -> None:
        """Judge the hosts that a cluster names. Raises `_StartError`."""
        looking = _Producer({**configuration, **_LOOKING})
        try:
            for place in await looking.open(None, until):  # to ask for a topic is to call its leader
                await self._is_there(place)
        finally:
            await looking.close()

    async def _is_there(self, place: HostPort) -> bool:
        """Judge a host. Raises `_StartError` if it may not be called."""
        try:
            return bool(await self._brokers.names.addresses(place))
        except HttpError:
            return False
        except ForbiddenUrlError as forbidden:
            raise _StartError(Failed("refused", f"{place.host}:{place.port} is not called: {forbidden}.")) from None


class _StartError(Exception):
    """There is no producer."""

    def __init__(self, problem: Failed) -> None:
        super().__init__(problem.detail)
        self.failed = problem


class _Producer:
    """librdkafka's producer, and the thread that takes up what it says."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self.lost: Failed | None = None
        """Why it is good for nothing any more."""
        self._configuration = dict(configuration)
        self._loop = asyncio.get_running_loop()
        self._said: asyncio.Future[None] = self._loop.create_future()
        self._named: asyncio.Future[list[HostPort]] = self._loop.create_future()
        self._thread: asyncio.Future[None] | None = None
        self._producer: Producer
        self._problem = "No broker can be reached."
        self._asking = threading.Lock()
        self._closing = False

    async def open(self, topic: str | None, until: float) -> list[HostPort]:
        """Start it, and ask what hosts the cluster has. `until` is by the event loop's clock. Raises `_StartError`."""
        from confluent_kafka import KafkaException  # noqa: PLC0415

        try:
            self._producer = await in_daemon_thread(self._made)
            self._thread = in_daemon_thread(self._poll)
            clock = time.monotonic() + until - self._loop.time()
            asked = in_daemon_thread(partial(self._ask, topic, clock))
            try:
                await asyncio.wait((asked, self._said, self._named), return_when=asyncio.FIRST_COMPLETED)
                if self._named.done():
                    return self._named.result()
                if self.lost is not None and not asked.done():
                    raise _StartError(self.lost)
                found = await asked
            finally:
                asked.cancel()  # nobody asks for its result any more
        except KafkaException as error:
            raise _StartError(self.lost or of_error(error.args[0])) from None
        problem = None if topic is None else found.topics[topic].error
        if problem is not None and of_error(problem).reason == "closed":
            raise _StartError(of_error(problem))
        return [_place(broker.host, broker.port) for broker in found.brokers.values()]

    async def produce(self, topic: str, records: Sequence[Mapping[str, Any]], until: float) -> list[Outcome]:
        """Produce records; the outcome of each. `until` is by the event loop's clock."""
        from confluent_kafka import KafkaException  # noqa: PLC0415

        if self._closing:
            return [down("The producer was closed.")] * len(records)
        answers: list[asyncio.Future[Outcome]] = [self._loop.create_future() for _ in records]
        for record, answer in zip(records, answers, strict=True):
            try:
                self._producer.produce(topic, **record, on_delivery=partial(self._on_delivery, answer))
            except KafkaException as error:
                answer.set_result(of_error(error.args[0]))
            except BufferError:
                answer.set_result(down("Too many events wait for the cluster."))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await asyncio.wait(answers)
        return [answer.result() if answer.done() else no_answer() for answer in answers]

    async def close(self) -> None:
        """End it, with all that it has not sent. What takes longer than a moment goes on in the background."""
        self._closing = True
        if self._thread is not None:
            await asyncio.wait((self._thread,), timeout=CLOSING)

    def _made(self) -> "Producer":
        from confluent_kafka import Producer  # noqa: PLC0415

        calls = {"error_cb": self._on_error, "stats_cb": self._on_statistics, "logger": _silent()}
        return Producer({**self._configuration, **calls})

    def _ask(self, topic: str | None, until: float) -> Any:
        """Ask again and again, so that an end has not to wait for long. `until` is by the monotonic clock."""
        from confluent_kafka import KafkaException  # noqa: PLC0415

        with self._asking:
            while True:
                try:
                    if topic is None:
                        return self._producer.list_topics(timeout=LOOK)
                    return self._producer.list_topics(topic, ASK)
                except KafkaException:
                    if self._closing or time.monotonic() > until:
                        raise

    def _poll(self) -> None:
        """Run in a thread of its own, which also ends the producer: its threads would live on."""
        while not self._closing:
            self._producer.poll(LOOK)
            if self.lost is not None:
                self._producer.purge()
        self._producer.purge()
        with self._asking:
            self._producer.close()

    def _on_error(self, error: "KafkaError") -> None:
        """Take up what concerns no single record; called by our thread."""
        if error.name() in _LOST:
            said = of_error(error)
            self.lost = self.lost or (said if said.reason == "closed" else down(self._problem))
            self._settle(self._said, None)
        else:
            self._problem = error.str()

    def _on_statistics(self, text: str) -> None:
        """Take up which hosts the cluster has named; called by our thread."""
        brokers = json.loads(text)["brokers"].values()
        named = [broker["nodename"].rpartition(":") for broker in brokers if broker["source"] == "learned"]
        if named:
            self._settle(self._named, [_place(host, int(port)) for host, _, port in named])

    def _on_delivery(self, answer: asyncio.Future[Outcome], error: "KafkaError | None", _message: "Message") -> None:
        """Take up what became of a record; called by our thread."""
        if error is None:
            outcome: Outcome = Accepted("produced")
        elif error.name().startswith("_PURGE"):
            outcome = self.lost or down("The producer was closed.")
        else:
            outcome = of_error(error)
        self._settle(answer, outcome)

    def _settle(self, future: asyncio.Future[T], result: T) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(result)

        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(settle)


def security(credentials: Mapping[str, str]) -> dict[str, str]:
    """Say how to log in, and whether with TLS. Raises `TargetError`."""
    check_names(credentials, CREDENTIALS)
    has_sasl = any(name.startswith("sasl.") for name in credentials)
    protocol = credentials.get("security.protocol", "SASL_SSL" if has_sasl else "PLAINTEXT").upper()
    if protocol not in {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}:
        raise TargetError("security.protocol must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    if has_sasl and not protocol.startswith("SASL"):
        raise TargetError(f"sasl.* has no effect with security.protocol={protocol}; use SASL_SSL.")
    mechanism = credentials.get("sasl.mechanism", MECHANISMS[0]).upper()
    if mechanism not in MECHANISMS:
        raise TargetError(f"sasl.mechanism must be one of {', '.join(MECHANISMS)}.")
    sasl = {"sasl.mechanism": mechanism} if has_sasl else {}
    return {**credentials, **sasl, "security.protocol": protocol}


def of_error(error: "KafkaError") -> Failed:
    """Say what an error means, of a record or of the cluster."""
    return Failed(_REASONS.get(error.name(), "down"), f"{error.name().strip('_')}: {error.str()}"[:MAX_KEPT])


def _place(host: str, port: int) -> HostPort:
    return HostPort(host, port, port == PORT)


def _silent() -> logging.Logger:
    """Where librdkafka's own log goes: what an operator needs is in the outcomes."""
    logger = logging.getLogger("librdkafka")
    logger.disabled = True
    return logger

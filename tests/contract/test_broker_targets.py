"""NATS and Kafka, beyond what all targets have in common: faults of a broker, logging in, and what errors mean."""

import asyncio
import base64
import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any

import nkeys
import pytest
from confluent_kafka import KafkaError

from harness.brokers import Broker, asking_for, by_tls, kafka_broker, nats_server
from harness.event_receivers import (
    ENVELOPES,
    EVENT,
    SECRET,
    KafkaReceiver,
    NatsReceiver,
    making_targets,
    of_size,
    several,
)
from harness.peer import listening
from harness.waiting import eventually
from tools.certificates import Certificates, make_certificates
from whaul.events.model import Failed, Outcomes
from whaul.events.targets import Options, TargetError, kafka
from whaul.outbound.netguard import EventHosts
from whaul.outbound.public_names import PublicNames

pytestmark = pytest.mark.anyio

KINDS = ("nats", "kafka")
TASKS = Path("/proc/self/task")


@pytest.fixture(scope="module")
def brokers(anyio_backend: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Broker]]:  # noqa: ARG001
    with nats_server(tmp_path_factory.mktemp("nats")) as nats, kafka_broker() as kafka_:
        yield {"nats": nats, "kafka": kafka_}


@pytest.fixture
def broker(brokers: Mapping[str, Broker], kind: str) -> Broker:
    return brokers[kind]


async def receiver_at(kind: str, port: int) -> NatsReceiver | KafkaReceiver:
    return await NatsReceiver(port).prepare() if kind == "nats" else KafkaReceiver(port)


def reasons(outcomes: Outcomes) -> list[str]:
    return [outcome.reason if isinstance(outcome, Failed) else "accepted" for outcome in outcomes]


# Faults.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_dies_and_comes_back(broker: Broker, kind: str) -> None:
    receiver = await receiver_at(kind, broker.port)
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        assert reasons(await target.send([EVENT])) == ["accepted"]
        broker.kill()
        assert reasons(await target.send(several(3))) == ["down"] * 3
        assert reasons(await target.send(several(2))) == ["down"] * 2
        broker.start()
        later = replace(EVENT, message_id="later")
        assert reasons(await target.send([later])) == ["accepted"]
        await target.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_dies_before_it_answers(broker: Broker, kind: str) -> None:
    receiver = await receiver_at(kind, broker.port)
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        await target.send([EVENT])
        broker.freeze()
        sending = asyncio.create_task(target.send(several(3)))
        with listening() as server:  # the event loop has time for others
            other = targets.make(server.url, Options(secrets=[SECRET]))
            assert reasons(await other.send([EVENT])) == ["accepted"]
        assert not sending.done()
        broker.kill()
        assert reasons(await sending) == ["down"] * 3
        broker.start()
        await target.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_is_silent_is_down_in_time(broker: Broker, kind: str) -> None:
    receiver = await receiver_at(kind, broker.port)
    async with making_targets() as patient, making_targets(patience=1.0) as targets:
        target: Any
        target, fresh = (made.make(receiver.address, Options()) for made in (patient, targets))
        assert reasons(await target.send([EVENT])) == ["accepted"]
        target._brokers = fresh._brokers
        broker.freeze()
        try:
            found = await asyncio.gather(target.send(several(2)), fresh.send(several(2)))
        finally:
            broker.thaw()
        assert [reasons(each) for each in found] == [["down"] * 2] * 2
        await target.close()
        await fresh.close()
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        assert reasons(await target.send([EVENT])) == ["accepted"]
        await target.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_is_slow_is_waited_for(broker: Broker, kind: str) -> None:
    receiver = await receiver_at(kind, broker.port)
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        await target.send([EVENT])
        broker.freeze()
        sending = asyncio.create_task(target.send(several(3)))
        done, _ = await asyncio.wait([sending], timeout=0.3)
        broker.thaw()
        assert not done
        assert reasons(await sending) == ["accepted"] * 3
        await target.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not TASKS.exists(), reason="only Linux shows the threads of libraries")
async def test_nothing_is_left_of_connections_to_a_broker_that_is_away(kind: str) -> None:
    with listening() as server:
        pass

    def threads() -> int:
        return len(list(TASKS.iterdir()))

    async with making_targets() as targets:
        target = targets.make(f"{kind}://{server.host}/whatsapp", Options())
        await target.send([EVENT])
        tasks, before = asyncio.all_tasks(), threads()
        for _ in range(5):
            assert reasons(await target.send([EVENT])) == ["down"]
        await target.close()
        assert asyncio.all_tasks() == tasks
    await asyncio.to_thread(eventually, lambda: threads() <= before + 1)  # this look has one of its own


# Addresses.


def resolver(address: str) -> Callable[..., Sequence[Any]]:
    def look_up(_host: str, _port: object, **_options: object) -> Sequence[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    return look_up


@pytest.mark.parametrize(
    ("address", "credentials"),
    [
        ("tls://public.example/whatsapp", {}),
        ("kafka://public.example/whatsapp", {"security.protocol": "SSL"}),
        ("kafka://127.0.0.1,public.example/whatsapp", {"security.protocol": "SSL"}),
    ],
)
@pytest.mark.parametrize("private", ["10.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_inside_is_not_called(
    address: str, credentials: Mapping[str, str], private: str
) -> None:
    hosts = EventHosts(["127.0.0.1"])
    async with making_targets(PublicNames(hosts, resolver(private)), hosts) as targets:
        target = targets.make(address, Options(headers=credentials))
        assert reasons(await target.send([EVENT])) == ["refused"]
        await target.close()


async def test_a_cluster_that_names_a_private_host(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    options = Options(headers={"security.protocol": "SSL", "ssl.ca.location": str(certificates.authority)})
    with (
        socket.create_server(("127.0.0.2", 0)) as private,
        kafka_broker(named := f"127.0.0.2:{private.getsockname()[1]}") as broker,
        by_tls(certificates, lambda: broker.port) as port,
    ):
        hosts = EventHosts([f"127.0.0.1:{port}"])
        async with making_targets(PublicNames(hosts, resolver("1.1.1.1")), hosts) as targets:
            target = targets.make(f"kafka://127.0.0.1:{port},public.example/whatsapp", options)
            [outcome] = await target.send([EVENT])
            assert isinstance(outcome, Failed)
            assert outcome.reason == "refused", outcome
            assert f"{named} is not called" in outcome.detail
            await target.close()
        private.setblocking(False)
        with pytest.raises(BlockingIOError):
            private.accept()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_host_is_listed_with_or_without_the_port_of_its_protocol(kind: str) -> None:
    port = {"nats": 4222, "kafka": 9092}[kind]
    for pattern in ("broker.example", f"broker.example:{port}", f"*.example:{port}"):
        async with making_targets(hosts=EventHosts([pattern])) as targets:
            targets.make(f"{kind}://broker.example/whatsapp", Options())
            targets.make(f"{kind}://broker.example:{port}/whatsapp", Options())
            with pytest.raises(TargetError, match="WHAUL_EVENT_HOSTS"):
                targets.make(f"{kind}://broker.example:1/whatsapp", Options())


@pytest.mark.parametrize(("kind", "module"), [("nats", "nats"), ("kafka", "confluent_kafka")])
async def test_an_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch, kind: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    async with making_targets() as targets:
        with pytest.raises(TargetError, match=rf"pip install 'whaul\[{kind}\]'"):
            targets.make(f"{kind}://127.0.0.1/whatsapp", Options())


# NATS.


NATS_USERS = """
authorization {{ users: [
  {{ user: whaul, password: "se cret" }}
  {{ nkey: {nkey} }}
  {{ user: reader, password: reads, permissions: {{ publish: "_INBOX.>", subscribe: ">" }} }}
] }}"""
NATS_JWT = {"typ": "JWT", "alg": "ed25519-nkey"}
CREDS = """-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""
NATS_TLS = """
authorization {{ token: t0ken }}
tls {{ cert_file: "{chain}", key_file: "{key}" }}"""


async def test_a_subject_without_a_stream_is_closed(brokers: Mapping[str, Broker]) -> None:
    async with making_targets() as targets:
        target = targets.make(f"nats://127.0.0.1:{brokers['nats'].port}/nobody", Options())
        assert reasons(await target.send(several(3))) == ["closed"] * 3
        await target.close()


async def test_limits_of_a_stream(brokers: Mapping[str, Broker]) -> None:
    port = brokers["nats"].port
    small = await NatsReceiver(port).prepare(max_msg_size=10_000)
    full = await NatsReceiver(port).prepare(max_msgs=1, discard="new")
    async with making_targets() as targets:
        target = targets.make(small.address, Options())
        events = [EVENT, of_size(20_000), replace(EVENT, message_id="later")]
        assert reasons(await target.send(events)) == ["accepted", "impossible", "accepted"]
        await target.close()
        target = targets.make(full.address, Options())
        assert reasons(await target.send(several(2))) == ["accepted", "down"]
        await target.close()


async def test_a_retry_is_kept_once(brokers: Mapping[str, Broker]) -> None:
    receiver = await NatsReceiver(brokers["nats"].port).prepare()
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        later = replace(EVENT, message_id="later")
        assert reasons(await target.send([EVENT, EVENT, later])) == ["accepted"] * 3
        assert [arrival.id for arrival in await receiver.arrived(2)] == [EVENT.message_id, "later"]
        await target.close()


async def test_what_strangers_wrote_is_no_header_of_its_own(brokers: Mapping[str, Broker]) -> None:
    receiver = await NatsReceiver(brokers["nats"].port).prepare()
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        await target.send([replace(EVENT, type="a\r\nNats-Rollup: all\r\n\r\né")])
        (arrival,) = await receiver.arrived(1)
        assert arrival.named["type"] == "a%0D%0ANats-Rollup: all%0D%0A%0D%0A%C3%A9"
        assert "Nats-Rollup" not in arrival.named
        assert arrival.named["kind"] == "message"
        assert arrival.body == ENVELOPES.aws(replace(EVENT, type="a"))
        await target.close()


async def test_logging_in_to_nats(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(b"s" * 32, nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    with nats_server(tmp_path, NATS_USERS.format(nkey=public)) as broker:
        for credentials, expected in (
            ({"user": "whaul", "password": "se cret"}, "No stream takes this subject"),
            ({"nkey": seed.decode()}, "No stream takes this subject"),
            ({"user": "reader", "password": "reads"}, "Permissions Violation"),
            ({"user": "whaul", "password": "wrong"}, "Authorization Violation"),
            ({}, "Authorization Violation"),
        ):
            async with making_targets() as targets:
                address = f"nats://127.0.0.1:{broker.port}/whatsapp"
                target = targets.make(address, Options(headers=credentials))
                [outcome] = await target.send([EVENT])
                assert isinstance(outcome, Failed)
                assert outcome.reason == "closed"
                assert expected.lower() in outcome.detail.lower()
                await target.close()


def jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, kind: str, **claims: Any) -> str:
    """A token of NATS's. https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt"""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    body = {"iss": issuer.public_key.decode(), "sub": subject.public_key.decode(), "iat": 1, "name": kind, "jti": kind}
    nats = {"type": kind, "version": 2} | claims
    signed = ".".join(part(json.dumps(each).encode()) for each in (NATS_JWT, body | {"nats": nats}))
    return f"{signed}.{part(issuer.sign(signed.encode()))}"


def key_pair(prefix: int, letter: bytes) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(letter * 32, prefix)))


async def test_logging_in_to_nats_by_a_creds_file(tmp_path: Path) -> None:
    operator = key_pair(nkeys.PREFIX_BYTE_OPERATOR, b"o")
    system, account = (key_pair(nkeys.PREFIX_BYTE_ACCOUNT, letter) for letter in (b"s", b"a"))
    users = [key_pair(nkeys.PREFIX_BYTE_USER, letter) for letter in (b"u", b"v")]
    unlimited = {"limits": {"subs": -1, "data": -1, "payload": -1, "conn": -1}}
    accounts = {each.public_key.decode(): jwt(operator, each, "account", **unlimited) for each in (system, account)}
    preload = ", ".join(f"{name}: {token}" for name, token in accounts.items())
    configuration = f"""
        operator: {jwt(operator, operator, "operator")}
        system_account: {system.public_key.decode()}
        resolver: MEMORY
        resolver_preload: {{ {preload} }}"""
    token = jwt(account, users[0], "user", subs=-1, data=-1, payload=-1)
    with nats_server(tmp_path, configuration) as broker:
        for user, expected in ((users[0], "No stream takes this subject"), (users[1], "Authorization Violation")):
            creds = CREDS.format(token=token, seed=user.seed.decode())
            async with making_targets() as targets:
                target = targets.make(f"nats://127.0.0.1:{broker.port}/a", Options(headers={"creds": creds}))
                [outcome] = await target.send([EVENT])
                assert isinstance(outcome, Failed)
                assert outcome.reason == "closed"
                assert expected.lower() in outcome.detail.lower()
                await target.close()


async def test_nats_by_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    chain, key, authority = certificates.chain, certificates.key, der_of(certificates)
    token = Options(headers={"token": "t0ken"})
    with nats_server(tmp_path, NATS_TLS.format(chain=chain, key=key)) as broker:
        for scheme, trusted, host, expected in (
            ("tls", [authority], "localhost", "closed"),  # let in; there is no stream
            ("nats", [authority], "localhost", "closed"),  # the server wants it
            ("tls", [authority], "other.example", "down"),  # a certificate for another name
            ("nats", [], "localhost", "down"),  # an authority that is not trusted
        ):
            hosts = EventHosts([f"{host}:{broker.port}"])
            names = PublicNames(hosts, resolver("127.0.0.1"))
            async with making_targets(names, hosts, certificates=trusted) as targets:
                target = targets.make(f"{scheme}://{host}:{broker.port}/whatsapp", token)
                assert reasons(await target.send([EVENT])) == [expected]
                await target.close()


def der_of(certificates: Certificates) -> bytes:
    return PEM_cert_to_DER_cert(certificates.authority.read_text())


async def test_credentials_are_not_told_to_a_server_without_tls() -> None:
    told = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal told
        writer.write(b'INFO {"max_payload":1048576,"headers":true,"auth_required":true}\r\n')
        told = await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with making_targets() as targets:
        target = targets.make(f"tls://127.0.0.1:{port}/whatsapp", Options(headers={"user": "u", "password": "p"}))
        [outcome] = await target.send([EVENT])
        assert reasons([outcome]) == ["down"]
        await target.close()
    server.close()
    await server.wait_closed()
    assert told == b""


async def test_servers_that_a_server_names_are_not_called() -> None:
    with listening() as other:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told = {"max_payload": 1_000_000, "headers": True, "connect_urls": [other.host]}
            writer.write(b"INFO %s\r\n" % json.dumps(told).encode())
            await reader.readuntil(b"PING\r\n")
            writer.write(b"PONG\r\n")
            await reader.readuntil(b"HPUB")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with making_targets() as targets:
            target = targets.make(f"nats://127.0.0.1:{port}/whatsapp", Options())
            assert reasons(await target.send(several(2))) == ["down"] * 2
            server.close()
            await server.wait_closed()
            assert reasons(await target.send(several(2))) == ["down"] * 2
            await target.close()
        assert other.connections == 0


# Kafka.


async def test_a_record_of_kafka(brokers: Mapping[str, Broker]) -> None:
    receiver = KafkaReceiver(brokers["kafka"].port)
    async with making_targets() as targets:
        target = targets.make(receiver.address, Options())
        await target.send([EVENT])
        (arrival,) = await receiver.arrived(1)
        assert arrival.named == {
            "key": EVENT.conversation.hex(),
            "field": "messages",
            "kind": "message",
            "type": "text",
            "wabaId": EVENT.waba_id,
            "phoneNumberId": EVENT.meta_phone_number_id,
            "messageId": EVENT.message_id,
        }
        await target.close()


async def test_kafka_by_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    security = {"security.protocol": "SSL", "ssl.ca.location": str(certificates.authority)}
    running: list[Broker] = []
    with (
        by_tls(certificates, lambda: running[0].port) as port,
        kafka_broker(f"127.0.0.1:{port}") as broker,
    ):
        running.append(broker)
        async with making_targets() as targets:
            for credentials, expected in (
                (security, "accepted"),
                ({"security.protocol": "SSL"}, "down"),
                ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}, "closed"),
            ):
                target = targets.make(f"kafka://127.0.0.1:{port}/whatsapp", Options(headers=credentials))
                [outcome] = await target.send([EVENT])
                assert reasons([outcome]) == [expected]
                await target.close()


async def test_logging_in_to_kafka() -> None:
    """Tansu knows no user, so that one is let in is shown by a front of ours that asks as a broker does."""
    credentials = {"security.protocol": "SASL_PLAINTEXT", "sasl.username": "whaul", "sasl.password": "s3cret"}
    running: list[Broker] = []
    with (
        asking_for("whaul", "s3cret", lambda: running[0].port) as port,
        kafka_broker(f"127.0.0.1:{port}") as broker,
        kafka_broker(None, "--authentication") as strict,
    ):
        running.append(broker)
        scram = {"sasl.mechanism": "SCRAM-SHA-512"}
        async with making_targets() as targets:
            for at, given, expected in (
                (port, credentials, "accepted"),
                (port, credentials | {"sasl.password": "0ther"}, "closed"),
                (port, credentials | scram, "closed"),
                (strict.port, credentials | scram, "closed"),
            ):
                target = targets.make(f"kafka://127.0.0.1:{at}/whatsapp", Options(headers=given))
                [outcome] = await target.send([EVENT])
                assert reasons([outcome]) == [expected]
                assert "s3cret" not in outcome.detail
                await target.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, "impossible"),
        (KafkaError.RECORD_LIST_TOO_LARGE, "impossible"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "closed"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "closed"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, "closed"),
        (KafkaError.UNSUPPORTED_SASL_MECHANISM, "closed"),
        (KafkaError._AUTHENTICATION, "closed"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "closed"),
        (KafkaError._UNKNOWN_TOPIC, "closed"),
        (KafkaError.TOPIC_EXCEPTION, "closed"),
        (KafkaError.INVALID_RECORD, "rejected"),
        (KafkaError.POLICY_VIOLATION, "rejected"),
        (KafkaError._MSG_TIMED_OUT, "down"),
        (KafkaError._TRANSPORT, "down"),
        (KafkaError.NOT_ENOUGH_REPLICAS, "down"),
        (KafkaError.THROTTLING_QUOTA_EXCEEDED, "down"),
        (KafkaError.UNKNOWN, "down"),
    ],
)
def test_what_errors_of_kafka_mean(code: int, reason: str) -> None:
    assert kafka.of_error(KafkaError(code)).reason == reason


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ({}, {"security.protocol": "PLAINTEXT"}),
        ({"security.protocol": "ssl"}, {"security.protocol": "SSL"}),
        (
            {"sasl.username": "u", "sasl.password": "p"},
            {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"},
        ),
        (
            {"sasl.mechanism": "SCRAM-SHA-512", "security.protocol": "SASL_PLAINTEXT"},
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"},
        ),
    ],
)
def test_how_to_log_in_to_kafka(credentials: Mapping[str, str], expected: Mapping[str, str]) -> None:
    assert kafka.security(credentials) == expected


@pytest.mark.parametrize(
    ("kind", "credentials"),
    [
        ("kafka", {"sasl.username": "u", "security.protocol": "SSL"}),
        ("kafka", {"security.protocol": "secret"}),
        ("kafka", {"plugin.library.paths": "secret"}),
        ("kafka", {"sasl.mechanism": "secret"}),
        ("nats", {"username": "secret"}),
        ("nats", {"password": "secret"}),
        ("nats", {"user": "u", "token": "secret"}),
        ("nats", {"nkey": "secret"}),
        ("nats", {"creds": "secret"}),
    ],
)
async def test_credentials_that_cannot_be(kind: str, credentials: Mapping[str, str]) -> None:
    async with making_targets() as targets:
        with pytest.raises(TargetError) as caught:
            targets.make(f"{kind}://127.0.0.1/whatsapp", Options(headers=credentials))
    assert "secret" not in str(caught.value)

"""Bytes on the gateway's port: broken, ambiguous, endless or none at all.

Nothing unsigned gets in, and others are served.

After every test the same worker answers a valid call, and its output tells of no error that it did not foresee.
"""

import os
import resource
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from harness.client import Reply
from harness.hostile_gateway import CALL, POST, Target, connected, replies
from harness.peer import Peer
from harness.waiting import PATIENCE
from whaul.server.bodies import MAX_LARGE_BODIES

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
INNER = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
"""What a front server would take for part of a body."""


@pytest.fixture(autouse=True)
def well_afterwards(target: Target, slow: object) -> Iterator[None]:  # noqa: ARG001 - they are there all the time
    yield
    target.is_well()


CHUNKED = b"Transfer-Encoding: chunked\r\n"
UNSIGNED = {
    "a body and no signature": (POST + b"Content-Length: 2\r\n\r\n{}", [403], True),
    "a body over the limit": (POST + b"Content-Length: 3000000\r\n\r\n" + b"a" * 3_000_000, [413], False),
    "chunks over the limit": (POST + CHUNKED + b"\r\n" + (b"8000\r\n" + b"a" * 32768 + b"\r\n") * 92, [413], False),
    "a length over all bounds": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", [400], False),
    "a length with a sign": (POST + b"Content-Length: +2\r\n\r\n{}", [400], False),
    "a length in hex": (POST + b"Content-Length: 0x2\r\n\r\n{}", [400], False),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + INNER, [400], False),
    "two lengths in one header": (POST + b"Content-Length: 2, 40\r\n\r\n{}" + INNER, [400], False),
    "the same length twice": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", [403], True),
    "a length and chunks": (POST + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + INNER, [403], False),
    "chunks and a length": (POST + CHUNKED + b"Content-Length: 40\r\n\r\n0\r\n\r\n" + INNER, [403], False),
    "chunks that are not the last coding": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", [400], False),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400], False),
    "a coding behind a control character": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400], False),
    "a chunk size that is none": (POST + CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n", [400], False),
    "a chunk size over all bounds": (POST + CHUNKED + b"\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n", [400], False),
    "a chunk size with a sign": (POST + CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n", [400], False),
    "a chunk longer than its size": (POST + CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n", [400], False),
    "a chunk that ends with a bare LF": (POST + CHUNKED + b"\r\n2\r\n{}\n0\r\n\r\n", [400], False),
    "an endless chunk extension": (POST + CHUNKED + b"\r\n2;" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n", [400], False),
    "a signature in the trailers": (
        POST + CHUNKED + b"\r\n0\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n\r\n",
        [403],
        True,
    ),
    "a folded header": (POST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", [400], False),
    "a folded first header": (b"GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n", [400], False),
    "a space before a colon": (POST + b"Content-Length : 2\r\n\r\n{}", [400], False),
    "a header without a colon": (POST + b"nonsense\r\n\r\n", [400], False),
    "a header without a name": (POST + b": a\r\n\r\n", [400], False),
    "a control character in a name": (POST + b"X\x00: a\r\n\r\n", [400], False),
    "a control character in a value": (POST + b"X: a\x00b\r\n\r\n", [400], False),
    "a bare CR in a value": (POST + b"X: a\rContent-Length: 5\r\n\r\n", [400], False),
    "an oversized header": (GET + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", [431], False),
    "very many headers": (GET + b"".join(b"x-%d: a\r\n" % i for i in range(10_000)) + b"\r\n", [431], False),
    "a long target": (b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", [431], False),
    "a target that is not ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", [400], False),
    "a target with escaped bytes": (b"GET /%ff%fe%00%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", [404], True),
    "a target that climbs": (b"GET /v1/../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", [404], True),
    "a target in absolute form": (POST.replace(b"/v1", b"http://evil.example/v1") + b"\r\n", [403], True),
    "a target of a proxy": (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", [404], True),
    "a target that is a star": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [404], True),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", [400], False),
    "two spaces": (b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n", [400], False),
    "another path for the operation": (POST.replace(b"/get", b"//g%65t/") + b"Content-Length: 0\r\n\r\n", [404], True),
    "an unknown method": (POST.replace(b"POST", b"FOO!BAR") + b"\r\n", [405], True),
    "a method that is none": (POST.replace(b"POST", b"P(ST") + b"\r\n", [400], False),
    "no Host": (b"POST " + CALL.encode() + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n", [403], True),
    "two Hosts": (POST + b"Host: b\r\nContent-Length: 0\r\n\r\n", [403], True),
    "bytes in the Authorization": (POST + b"Authorization: \xff\xfe\r\nContent-Length: 0\r\n\r\n", [403], True),
    "two Authorizations": (
        POST + b"Authorization: AWS4-HMAC-SHA256 a\r\n" * 2 + b"Content-Length: 0\r\n\r\n",
        [403],
        True,
    ),
    "odd types and cookies": (
        POST + b"Content-Type: ;;=\xff\r\nCookie: \xff=;;\r\nContent-Length: 0\r\n\r\n",
        [403],
        True,
    ),
    "a switch to WebSocket": (
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n",
        [200],
        True,
    ),
    "a switch to HTTP/2": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n",
        [200],
        True,
    ),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", [], False),
    "HTTP/1.0": (b"POST " + CALL.encode() + b" HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", [403], False),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", [400], False),
    "HTTP/3.7": (b"GET /healthz HTTP/3.7\r\nHost: a\r\n\r\n", [400], False),
    "every byte there is": (bytes(range(256)) * 20 + b"\r\n\r\n", [400], False),
    "zeros": (b"\x00" * 100_000, [400], False),
    "a greeting of TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(193), [400], False),
    "a greeting of SSH": (b"SSH-2.0-OpenSSH_9.7\r\n", [400], False),
    "requests in a row": (
        GET + b"\r\n" + POST + b"Content-Length: 2\r\n\r\n{}" + POST + b"Content-Length: 0\r\n\r\n" + GET + b"\r\n",
        [200, 403, 403, 200],
        True,
    ),
}


@pytest.mark.parametrize(("raw", "statuses", "goes_on"), UNSIGNED.values(), ids=UNSIGNED.keys())
def test_nothing_unsigned_gets_in(raw: bytes, statuses: list[int], goes_on: bool, target: Target) -> None:
    assert replies(target.port, raw) == (statuses, goes_on)


def request(target: Target, body: bytes, *changes: tuple[bytes, bytes], more: bytes = b"") -> bytes:
    """A request that is signed well, then changed on its way."""
    headers = target.signed(body) | {"Content-Length": str(len(body))}
    lines = [f"POST {CALL} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    raw = "\r\n".join(lines).encode() + b"\r\n" + more + b"\r\n" + body
    for old, new in changes:
        assert old in raw
        raw = raw.replace(old, new, 1)
    return raw


def test_what_the_changes_start_from_is_answered(target: Target) -> None:
    assert replies(target.port, request(target, target.members())) == ([200], True)


CHANGES = {
    "another Host": ([(b"Host: 127", b"Host: 128")], b""),
    "a second Host": ([], b"Host: evil.example\r\n"),
    "a second date": ([], b"X-Amz-Date: 20200101T000000Z\r\n"),
    "a second Authorization": ([], b"Authorization: AWS4-HMAC-SHA256 x\r\n"),
    "an unsigned header of AWS": ([], b"X-Amz-Security-Token: x\r\n"),
    "a hash that says unsigned": ([], b"X-Amz-Content-SHA256: UNSIGNED-PAYLOAD\r\n"),
    "a query": ([(b" HTTP/1.1", b"?a=b HTTP/1.1")], b""),
    "another method": ([(b"POST", b"PUT")], b""),
    "another body": ([(b'"mediaId": "1', b'"mediaId": "2')], b""),
    "a shorter body": ([(b"Content-Length: ", b"Content-Length: 1\r\nX: ")], b""),
    "another member": ([(b"hostile-key/", b"another-key/")], b""),
    "the name of a chunked body": ([], b"Transfer-Encoding: chunked\r\n"),
    "a folded signature": ([(b"Authorization: ", b"Authorization:\r\n ")], b""),
    "a signature by NUL": ([(b"Authorization: ", b"Authorization: \x00")], b""),
}


@pytest.mark.parametrize(("changes", "more"), CHANGES.values(), ids=CHANGES.keys())
def test_nothing_changed_on_the_way_gets_in(
    changes: list[tuple[bytes, bytes]], more: bytes, target: Target, store: Peer
) -> None:
    store.reset()
    statuses, _ = replies(target.port, request(target, target.members(), *changes, more=more))
    assert statuses
    assert all(400 <= status < 500 for status in statuses)
    assert store.received == []


def test_a_signed_request_hides_no_other_one(target: Target) -> None:
    """What a front server took for its body is not answered as the next request."""
    body = target.members()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    raw = request(target, body, more=b"Transfer-Encoding: chunked\r\n").removesuffix(body) + chunked + INNER
    statuses, goes_on = replies(target.port, raw)
    assert len(statuses) == 1
    assert not goes_on


def test_clients_that_leave_early_are_no_trouble(target: Target) -> None:
    raw = request(target, target.members())
    for length in range(0, len(raw), max(1, len(raw) // 60)):
        with closing(connected(target.port)) as client:
            client.sendall(raw[:length])
            if length % 2:
                client.shutdown(socket.SHUT_WR)
            elif length % 3:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def test_a_thousand_idle_connections_keep_nobody_out(target: Target) -> None:
    """The call is answered while they are open, not only when the server has closed them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < 2000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2000, hard) if hard >= 0 else 2000, hard))
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connected(target.port))) for _ in range(1000)]
        for client in clients[::2]:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        target.is_well()
        still_open = 0
        for client in clients:
            client.setblocking(False)
            try:
                client.recv(1)
            except BlockingIOError:
                still_open += 1
        assert still_open == 1000


def test_calls_are_answered_while_many_send_nonsense(target: Target) -> None:
    """Half of the requests are good, and they alone succeed."""
    raws = [raw for raw, _, _ in UNSIGNED.values() if len(raw) < 100_000]
    good: list[Reply] = []

    def shout() -> None:
        for raw in raws:
            replies(target.port, raw)

    def ask() -> None:
        good.extend(target.call() for _ in range(20))

    threads = [threading.Thread(target=work) for work in (shout, ask, shout, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status for reply in good] == [200] * 40


@pytest.mark.parametrize(("path", "size"), [("send", 3_000_000), ("media/get", 200_000)])
def test_large_bodies_of_strangers_share_a_bounded_amount_of_memory(target: Target, path: str, size: int) -> None:
    head = f"POST /v1/whatsapp/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: ".encode()
    places = MAX_LARGE_BODIES // size
    answers: list[bytes] = []
    with ExitStack() as stack:
        waiting = [stack.enter_context(connected(target.port)) for _ in range(places + 4)]
        for connection in waiting:
            connection.sendall(head + b"%d\r\n\r\n{" % size)
        while len(answers) < 4:
            answered, _, _ = select.select(waiting, [], [], PATIENCE)
            assert answered, "no more of them were refused"
            for connection in answered:
                answers.append(connection.recv(65536).lower())
                assert connection.recv(1) == b"", "the connection goes on"
                waiting.remove(connection)
        assert len(waiting) <= places
        assert all(b" 429 " in answer.partition(b"\r\n")[0] for answer in answers), answers
        assert all(b"\r\nretry-after: 1\r\n" in answer for answer in answers), answers
        assert replies(target.port, head + b"2\r\n\r\n{}") == ([403], True)
        assert target.call().status == 200
        padded = target.members() + b" " * 100_000
        answer = target.call(padded)
        while answer.status == 429:  # until those that wait have been there for a second
            answer = target.call(padded)
        assert answer.status == 200


def test_random_bytes_are_no_trouble(target: Target) -> None:
    for seed in range(40):
        raw = os.urandom(50 * seed) + b"\r\n\r\n" if seed % 2 else GET[: seed * 2] + os.urandom(100) + b"\r\n\r\n"
        statuses, _ = replies(target.port, raw)
        assert all(status in {200, 400, 404, 414, 431} for status in statuses)

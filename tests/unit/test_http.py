"""The outbound HTTP client over real connections: what it never does, and how it fails."""

import asyncio
import gzip
import inspect
import socket
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from pyreqwest import exceptions
from pyreqwest.bytes import Bytes
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url

from harness.loopback import BREAK, SILENCE, Answer, Loopback, Reply, reply
from harness.waiting import PATIENCE
from whaul.errors import Retry
from whaul.outbound.errors import FAILURES, HostRefusedError, HttpError, HttpTimeoutError, described
from whaul.outbound.http import MAX_SILENCES, READ_AHEAD, HttpClient
from whaul.outbound.response import MAX_RESPONSE_SIZE, STEP

pytestmark = pytest.mark.anyio

SECRET = "S3cr3tS1gnature"
BODY = b"0123456789" * 10_000


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


def url(server: Loopback) -> Url:
    return Url(f"{server.url}/x?signature={SECRET}")


async def parts(*given: bytes, error: BaseException | None = None) -> AsyncIterator[Bytes]:
    for part in given:
        yield Bytes(part)
    if error is not None:
        raise error


# --- failures


@pytest.mark.parametrize(
    "kind",
    [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, PyreqwestError)],
)
def test_every_error_of_the_library_becomes_a_failure_without_its_text(kind: type[PyreqwestError]) -> None:
    details = {"causes": [{"message": f"https://host/{SECRET}"}], "doc": SECRET, "pos": 0, "status": 500}
    has_details = issubclass(kind, exceptions.DetailedPyreqwestError)
    error = kind(SECRET, details) if has_details else kind(SECRET)
    text, _ = described(error)
    assert text in {text for _, text in FAILURES}
    assert SECRET not in text


def test_the_last_row_of_the_failures_catches_all() -> None:
    assert FAILURES[-1][0] is PyreqwestError


@pytest.mark.parametrize(
    "answer",
    [
        BREAK,
        Reply(b"HTTP/1.1 200", closes=True),
        Reply(b"nonsense\r\n\r\n", closes=True),
        reply(200, b"short", content_length=100),
        Reply(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", closes=True),
    ],
)
async def test_a_broken_exchange_is_a_failure_that_tells_nothing_of_the_request(
    http: HttpClient, answer: Answer
) -> None:
    async with Loopback(answer) as server:
        with pytest.raises(HttpError) as caught:
            await http.get(url(server), {"authorization": f"Bearer {SECRET}"})
        hide(caught.value)
        with pytest.raises(HttpError) as caught:
            await http.send("PUT", url(server), {"authorization": SECRET}, BODY, len(BODY))
        hide(caught.value)
        assert caught.value.arrived


def hide(failure: HttpError) -> None:
    for hidden in (SECRET, "127.0.0.1", "http://"):
        assert hidden not in str(failure)


async def test_a_host_that_does_not_listen_is_a_failure(http: HttpClient) -> None:
    async with Loopback() as server:
        pass
    with pytest.raises(HttpError, match="could not") as caught:
        await http.get(url(server), {})
    hide(caught.value)
    assert not caught.value.arrived


async def test_nothing_has_arrived_where_the_handshake_fails(http: HttpClient) -> None:
    hung_up = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HttpError) as caught:
            await http.call("POST", Url(f"https://127.0.0.1:{port}/"), {}, BODY)
        await hung_up.wait()
    assert not caught.value.arrived


async def test_a_request_may_have_arrived_when_the_peer_falls_silent() -> None:
    async with HttpClient(silence=1) as brief, Loopback(SILENCE) as server:
        with pytest.raises(HttpError) as caught:
            await brief.call("POST", url(server), {}, b"small")
    assert caught.value.arrived


async def test_a_client_that_is_closed_fails(http: HttpClient) -> None:
    await http.close()
    async with Loopback() as server:
        with pytest.raises(HttpError):
            await http.get(url(server), {})


HALF = Reply(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhalf", hangs=True)


@pytest.mark.parametrize("answer", [SILENCE, HALF])
async def test_a_peer_that_falls_silent_is_given_up(answer: Answer) -> None:
    async with HttpClient(silence=0.05) as http, Loopback(answer) as server:
        with pytest.raises(HttpError, match="timed out"):
            await http.get(url(server), {})
        with pytest.raises(HttpError, match="timed out"):
            await http.send("PUT", url(server), {}, b"small", 5)
        with pytest.raises(HttpError, match="timed out"):
            await asyncio.wait_for(http.send("PUT", url(server), {}, b"", 0), PATIENCE)
        with pytest.raises(HttpError, match="timed out"):
            await http.send("PUT", url(server), {}, parts(b"small"), 5)


@pytest.mark.parametrize("streams", [False, True])
async def test_a_peer_has_time_to_take_a_body_before_its_silence_counts(*, streams: bool) -> None:
    """The kernel takes the whole body at once, and tells nobody when it has arrived."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(BODY))
        late = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, late.set)
        await late.wait()
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, HttpClient(silence=0.1) as http:
        target = Url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        body = parts(BODY) if streams else BODY
        assert (await http.send("PUT", target, {}, body, len(BODY))).status == 200
        assert (await http.call("POST", target, {}, BODY)).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that no byte gets through")
@pytest.mark.parametrize("streams", [False, True])
async def test_a_peer_that_takes_no_more_bytes_is_given_up(*, streams: bool) -> None:
    body = BODY * 200
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = Url(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        async with HttpClient(silence=0.3) as http:
            with pytest.raises(HttpTimeoutError):
                await http.send("PUT", target, {}, parts(body) if streams else body, len(body))


@pytest.mark.parametrize("streams", [False, True])
async def test_a_host_that_is_silent_until_the_deadlines_of_its_callers_rests_too(*, streams: bool) -> None:
    async with HttpClient(silence=0.05) as http, Loopback(SILENCE) as server:

        async def until_refused() -> None:
            while True:  # not each one counts where this machine is slow
                with suppress(TimeoutError, HttpTimeoutError):
                    async with asyncio.timeout(0.2):
                        await http.send("PUT", url(server), {}, parts(BODY) if streams else BODY, len(BODY))

        with pytest.raises(HostRefusedError, match="left alone") as caught:
            await until_refused()
    assert caught.value.retry is Retry.NO


async def after(seconds: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


@pytest.mark.parametrize("ahead", [READ_AHEAD, 1024 * 1024])
async def test_a_file_that_comes_slowly_is_waited_for(ahead: int) -> None:
    """In all it takes longer than a silence may last, but no step of it does."""
    part = b"x" * STEP

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (9 * STEP))
        for _ in range(9):
            await after(0.4)
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server, HttpClient(silence=3) as http:
        target = Url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        async with http.download(target, {}, ahead) as download:
            assert await download.read(9 * STEP) == part * 9


async def test_a_file_that_comes_bit_by_bit_is_read_in_larger_parts() -> None:
    body = bytes(range(256)) * 4096

    async def bits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        for start in range(0, len(body), 10_000):
            writer.write(body[start : start + 10_000])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    parts = []
    async with await asyncio.start_server(bits, "127.0.0.1", 0) as server, HttpClient() as http:
        target = Url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        async with http.download(target, {}) as download:
            while part := await download.part(200_000):
                parts.append(part.to_bytes())
            assert await download.part(200_000) is None
    assert b"".join(parts) == body
    assert all(len(part) >= 100_000 for part in parts[:-1])


async def test_a_file_that_is_read_slowly_waits_for_its_reader() -> None:
    body = BODY * 100
    async with (
        HttpClient(silence=1) as http,
        Loopback(reply(200, body)) as server,
        http.download(url(server), {}) as download,
    ):
        first = await download.read(len(body) // 2)
        await after(1.5)
        rest = await download.read(len(body))
    assert bytes(first or b"") + bytes(rest or b"") == body


async def test_calls_that_are_given_up_early_rest_no_host() -> None:
    async with HttpClient() as http, Loopback(SILENCE) as server:
        for _ in range(MAX_SILENCES + 1):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await http.send("PUT", url(server), {}, BODY, len(BODY))


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Bearer {SECRET}\n"}, {"x": f"{SECRET}\x00"}, {"x": f"{SECRET}\ud800"}, {f"a {SECRET}": "x"}],
)
async def test_a_header_that_cannot_be_sent_is_a_failure_that_does_not_show_it(
    http: HttpClient, headers: dict[str, str]
) -> None:
    async with Loopback() as server:
        for failing in (
            http.get(url(server), headers),
            http.call("POST", url(server), headers, BODY),
            http.send("PUT", url(server), headers, BODY, len(BODY)),
            http.send("PUT", url(server), headers, parts(BODY), len(BODY)),
        ):
            with pytest.raises(HttpError) as caught:
                await failing
            assert SECRET not in "".join(traceback.format_exception(caught.value))
            assert (caught.value.retry, caught.value.arrived) == (Retry.NO, False)
        assert server.connections == 0


async def test_a_body_that_takes_its_time_is_waited_for() -> None:
    slow = asyncio.Event()

    async def body() -> AsyncIterator[Bytes]:
        yield Bytes(b"first")
        asyncio.get_running_loop().call_later(2.5, slow.set)
        await slow.wait()
        yield Bytes(b"last")

    async with HttpClient(silence=2) as http, Loopback() as server:
        assert (await http.send("PUT", url(server), {}, body(), 9)).status == 200
        assert server.requests[0].body == b"firstlast"


@pytest.mark.parametrize(("size", "fits"), [(MAX_RESPONSE_SIZE, True), (MAX_RESPONSE_SIZE + 1, False)])
async def test_an_answer_is_read_up_to_a_limit(http: HttpClient, size: int, fits: bool) -> None:
    async with Loopback(reply(200, b"x" * size)) as server:
        if fits:
            assert len((await http.get(url(server), {})).body) == size
        else:
            with pytest.raises(HttpError, match="too long"):
                await http.get(url(server), {})


# --- what it never does


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(http: HttpClient, status: int) -> None:
    async with Loopback() as there, Loopback(reply(status, b"", location=there.url)) as server:
        assert (await http.get(url(server), {})).status == status
        assert (await http.send("PUT", url(server), {}, BODY, len(BODY))).headers["location"] == there.url
        assert there.connections == 0


async def test_a_body_is_neither_asked_for_compressed_nor_decompressed(http: HttpClient) -> None:
    squeezed = gzip.compress(b"a file")
    async with Loopback(reply(200, squeezed, content_encoding="gzip")) as server:
        assert (await http.get(url(server), {})).body == squeezed
        assert "accept-encoding" not in server.requests[0].headers


async def test_nothing_is_sent_that_was_not_given_but_what_http_needs(http: HttpClient) -> None:
    async with Loopback() as server:
        await http.get(url(server), {"user-agent": "whaul/test"})
        await http.send("PUT", url(server), {"user-agent": "whaul/test"}, BODY, len(BODY))
        first, second = server.requests
    assert set(first.headers) <= {"host", "accept", "user-agent"}
    assert set(second.headers) <= {"host", "accept", "user-agent", "content-length"}


async def test_cookies_are_not_kept(http: HttpClient) -> None:
    async with Loopback(reply(200, b"", set_cookie="a=b")) as server:
        await http.get(url(server), {})
        await http.get(url(server), {})
        assert all("cookie" not in request.headers for request in server.requests)


# --- answers


async def test_header_names_are_lower_case_and_the_first_of_a_name_counts(http: HttpClient) -> None:
    raw = b"HTTP/1.1 200 X\r\nETag: one\r\netag: two\r\nX-A: b\r\ncontent-length: 2\r\n\r\nok"
    async with Loopback(Reply(raw)) as server:
        answer = await http.get(url(server), {})
    assert (answer.status, answer.body) == (200, b"ok")
    assert (answer.headers["etag"], answer.headers["x-a"]) == ("one", "b")


async def test_a_header_that_is_not_ascii_is_left_out_and_the_others_are_kept(http: HttpClient) -> None:
    raw = b"HTTP/1.1 200 X\r\nX-A: caf\xc3\xa9\r\nX-B: one\r\nx-b: two\r\ncontent-length: 2\r\n\r\nok"
    async with Loopback(Reply(raw)) as server:
        headers = (await http.get(url(server), {})).headers
    assert headers == {"x-b": "one", "content-length": "2"}


async def test_a_download_is_read_in_full_parts_and_ends_with_none(http: HttpClient) -> None:
    async with Loopback(reply(200, BODY)) as server, http.download(url(server), {}) as download:
        assert download.header("Content-Length") == str(len(BODY))
        assert download.header("x-none") is None
        sizes = []
        while part := await download.read(30_000):
            sizes.append(len(part))
        assert sizes == [30_000, 30_000, 30_000, 10_000]
        assert await download.read(1) is None


async def test_connections_are_kept_for_the_next_request(http: HttpClient) -> None:
    async with Loopback() as server:
        for _ in range(3):
            await http.get(url(server), {})
        assert server.connections == 1


# --- putting


@pytest.mark.parametrize("body", [BODY, Bytes(BODY), b"", Bytes(b"")])
async def test_a_whole_body_is_put_with_its_length(http: HttpClient, body: bytes | Bytes) -> None:
    async with Loopback() as server:
        await http.send("PUT", url(server), {}, body, len(body))
        (request,) = server.requests
    assert (request.body, request.headers["content-length"]) == (bytes(body), str(len(body)))
    assert "transfer-encoding" not in request.headers


async def test_a_streamed_body_is_put_with_its_length_and_not_chunked(http: HttpClient) -> None:
    async with Loopback() as server:
        await http.send("PUT", url(server), {}, parts(BODY, BODY), 2 * len(BODY))
        (request,) = server.requests
    assert (request.body, request.headers["content-length"]) == (BODY * 2, str(2 * len(BODY)))
    assert "transfer-encoding" not in request.headers


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), HttpError("mine"), ValueError("mine")])
@pytest.mark.parametrize("sent", [(), (b"first",), (BODY, BODY, BODY)])
async def test_a_body_that_raises_breaks_the_put_off_with_its_own_error(
    http: HttpClient, error: Exception, sent: tuple[bytes, ...]
) -> None:
    async with Loopback() as server:
        with pytest.raises(type(error), match="mine") as caught:
            await http.send("PUT", url(server), {}, parts(*sent, error=error), sum(map(len, sent)) + 1)
        assert caught.value is error
        await http.get(url(server), {})  # by its answer the server has seen the end of the first connection, too
        assert not any(request.is_whole for request in server.requests if request.method == "PUT")


async def test_a_body_that_is_shorter_than_announced_is_never_whole(http: HttpClient) -> None:
    async with Loopback() as server:
        with pytest.raises(HttpError):
            await http.send("PUT", url(server), {}, parts(b"short"), 10)
        assert not any(request.is_whole for request in server.requests)


async def test_a_put_that_is_given_up_is_broken_off(http: HttpClient) -> None:
    async def body() -> AsyncIterator[Bytes]:
        yield Bytes(BODY)
        await asyncio.Event().wait()

    async with Loopback() as server:
        task = asyncio.create_task(http.send("PUT", url(server), {}, body(), len(BODY) + 1))
        await server.begun.wait()  # before that there may be nothing to break off, not even a connection
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.seen.wait(), PATIENCE)
        assert [request.is_whole for request in server.requests] == [False]


@pytest.mark.parametrize("answer", [SILENCE, HALF])
@pytest.mark.parametrize("streams", [False, True])
async def test_a_put_that_is_given_up_leaves_no_connection_behind(answer: Answer, streams: bool) -> None:
    async with HttpClient(silence=1, max_exchange=2) as http, Loopback(answer) as server:
        with pytest.raises(HttpError, match="timed out"):
            await http.send("PUT", url(server), {}, parts(BODY) if streams else BODY, len(BODY))
        await asyncio.wait_for(server.hung_up.wait(), PATIENCE)


@pytest.mark.long
async def test_a_get_that_is_given_up_leaves_no_connection_behind() -> None:
    async with HttpClient() as http, Loopback(HALF) as server:
        task = asyncio.create_task(http.get(url(server), {}))
        await asyncio.wait_for(server.seen.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.hung_up.wait(), PATIENCE)


async def test_an_answer_before_the_end_of_the_body_is_taken(http: HttpClient) -> None:
    """S3 refuses a PUT by its head; the rest of the body is then of no use."""
    refusal = b"HTTP/1.1 403 X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"

    left = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        with suppress(ConnectionError):
            await writer.drain()
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    async def endless() -> AsyncIterator[Bytes]:
        while True:
            yield Bytes(BODY)
            await asyncio.sleep(0)

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        target = Url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        answer = await asyncio.wait_for(http.send("PUT", target, {}, endless(), 10**12), PATIENCE)
        await asyncio.wait_for(left.wait(), PATIENCE)
    assert (answer.status, answer.body) == (403, b"no")

"""The simulator inside a Python program: life and death, threads, memory, the media folder."""

import asyncio
import hashlib
import socket
import threading
from pathlib import Path

import aiohttp
import pytest

from harness.simulator_client import JPEG, VOICE, bearer, read_until_end, running
from harness.waiting import PATIENCE
from whaul.simulator import DEFAULT_TOKEN, Simulator, simulator_in_thread


def test_an_async_program_fetches_a_media_and_then_the_port_is_closed() -> None:
    async def program() -> int:
        async with Simulator() as sim, aiohttp.ClientSession(headers=bearer(sim.token)) as session:
            async with session.get(f"{sim.url}/v25.0/{VOICE}") as answer:
                members = await answer.json()
            async with session.get(members["url"]) as answer:
                body = await answer.read()
            assert hashlib.sha256(body).hexdigest() == members["sha256"]
            await sim.settled()
            assert sim.requests[-1].outcome == "complete"
            return sim.port

    port = asyncio.run(program())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def test_broken_connections_leave_no_task_behind() -> None:
    async def program() -> None:
        async with Simulator() as sim:
            url = await asyncio.to_thread(metadata_url, sim)
            before = asyncio.all_tasks()
            for kind in ("stall", "reset", "truncate"):
                sim.fault(JPEG, kind=kind, at=1000, times=5)
            sim.fault(JPEG, kind="drip", bytes_per_second=1, times=5)
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
                target = url.removeprefix(sim.url)
                writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sim.token}\r\n\r\n".encode())
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
            await sim.settled()
            if ending := asyncio.all_tasks() - before:
                _, left = await asyncio.wait(ending, timeout=PATIENCE)
                assert not left
            assert len([e for e in sim.requests if e.outcome == "broken"]) == 20

    asyncio.run(program())


def test_stopping_ends_stalls_and_drips_at_once() -> None:
    async def program() -> None:
        async with Simulator() as sim:
            url = await asyncio.to_thread(metadata_url, sim)
            sim.fault(JPEG, kind="stall", times=1)
            sim.fault(JPEG, kind="drip", bytes_per_second=1, times=1)
            sim.fault(JPEG, kind="latency", hop="download", seconds=3600, times=1)
            writers = []
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", sim.port)
                target = url.removeprefix(sim.url)
                writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sim.token}\r\n\r\n".encode())
                writers.append(writer)
            async with asyncio.timeout(PATIENCE):
                while len(sim.requests) < 4:  # noqa: ASYNC110 - no event tells of a request that came in
                    await asyncio.sleep(0)
        assert all(exchange.outcome != "pending" for exchange in sim.requests)
        for writer in writers:
            writer.close()

    async def in_time() -> None:
        async with asyncio.timeout(PATIENCE):
            await program()

    asyncio.run(in_time())


def metadata_url(sim: Simulator) -> str:
    """Ask for the JPEG's URL on a connection that ends at once."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=PATIENCE) as connection:
        request = f"GET /v25.0/{JPEG} HTTP/1.1\r\nHost: 127.0.0.1:{sim.port}\r\nConnection: close\r\n"
        connection.sendall(f"{request}Authorization: Bearer {sim.token}\r\n\r\n".encode())
        body = read_until_end(connection).partition(b"\r\n\r\n")[2].decode()
    return body.partition('"url":"')[2].partition('"')[0].replace("\\/", "/")


def test_a_client_that_does_not_read_holds_the_server_back() -> None:
    size = 200_000_000
    with running() as client:
        media_id = client.sim.add_generated(size)
        url = client.url(media_id)
        with client.raw(url) as connection:
            connection.recv(1)
            client.graph(JPEG)  # the server is free for others meanwhile
            sent = next(e for e in client.sim.requests if e.hop == "download").bytes_sent
            assert 0 < sent < size / 2


def test_what_is_under_way_at_a_reset_is_no_request_of_what_comes_after() -> None:
    with running() as client:
        url = client.url()
        client.sim.fault(JPEG, kind="stall", hop="download", at=10, times=1)
        with client.raw(url) as connection:
            connection.recv(1)
            client.sim.reset()
        client.over("stall")
        assert client.sim.requests == []
        client.download(client.url())
        while client.finished.get(timeout=PATIENCE).hop != "download":
            pass
        assert len(client.sim.requests) == 2
        assert client.sim.count(JPEG)["completed_downloads"] == 1


def test_a_taken_port_is_an_os_error_and_the_default_port_is_a_free_one() -> None:
    with running() as one, running() as two:
        assert one.sim.port != two.sim.port
        with pytest.raises(OSError, match=r"in use"), simulator_in_thread(port=one.sim.port):
            pass


def simulator_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "whaul-simulator"}


def test_an_error_in_the_block_ends_the_thread_too() -> None:
    before = simulator_threads()
    with pytest.raises(ZeroDivisionError), simulator_in_thread():
        raise ZeroDivisionError
    assert simulator_threads() == before


def test_another_token_makes_the_default_one_worthless() -> None:
    with running(token="another") as client:
        assert client.sim.token == "another"
        assert client.graph(JPEG).status == 200
        assert client.graph(JPEG, token=DEFAULT_TOKEN).error["code"] == 190


def test_bad_values_from_python_are_value_errors() -> None:
    with running() as client:
        sim = client.sim
        for bad in (
            lambda: sim.add_media(b"", "image/png", JPEG),
            lambda: sim.add_media(b"", "picture"),
            lambda: sim.add_media(b"", "image/png", file_size="roman"),
            lambda: sim.add_generated(1, media_id="no spaces"),
            lambda: sim.configure(colour="red"),
            lambda: sim.fault(kind="bang"),
        ):
            with pytest.raises(ValueError, match=r"\w"):
                bad()
        assert len(sim.media) == 3


def test_what_is_not_there_is_a_key_error_that_says_so() -> None:
    with running() as client:
        sim = client.sim
        for missing in (
            lambda: sim.remove_media("42"),
            lambda: sim.change_media("42", sha256="hex"),
            lambda: sim.expire_urls("42"),
            lambda: sim.receive("42"),
            lambda: sim.receive(phone_number_id="42"),
            lambda: sim.change_phone_number("42", status="FLAGGED"),
        ):
            with pytest.raises(KeyError, match=r"^There is no .* 42\.$"):
                missing()


def test_a_file_of_the_disk_is_a_media(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    with running() as client:
        media_id = client.sim.add_file(str(tmp_path / "a.png"), "image/png", origin="upload")
        client.sim.change_media(media_id, file_size="string")
        assert client.graph(media_id).json()["file_size"] == "3"
        client.sim.change_media(media_id, file_size=None)
        assert client.graph(media_id).json()["file_size"] == 3
        assert client.download(client.url(media_id)).body == b"one"
        client.sim.remove_media(media_id)
    assert (tmp_path / "a.png").exists()


def test_an_empty_media_is_a_media() -> None:
    with running() as client:
        media_id = client.sim.add_media(b"", "text/plain")
        for kind in (None, "corrupt", "truncate"):
            if kind:
                client.sim.fault(media_id, kind=kind, times=1)
            assert client.download(client.url(media_id)).body == b""


def test_every_file_of_the_media_folder_is_a_media_with_a_lasting_id(tmp_path: Path) -> None:
    (tmp_path / "voice.opus").write_bytes(b"OggS-one")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / ".hidden").write_text("not this")
    (tmp_path / "folder").mkdir()

    def by_name(client: object) -> dict[str, dict[str, object]]:
        media = client.control("GET", "state").json()["media"]  # type: ignore[attr-defined]
        return {m["name"]: m for m in media if m["name"]}

    with running(media_dir=tmp_path) as client:
        first = by_name(client)
        assert first.keys() == {"voice.opus", "notes.txt"}
        voice = str(first["voice.opus"]["id"])
        assert voice.isdecimal()
        assert client.graph(voice).json()["mime_type"] == "audio/ogg; codecs=opus"
        assert client.download(client.url(voice)).body == b"OggS-one"

        (tmp_path / "voice.opus").write_bytes(b"OggS-changed")
        assert client.download(client.url(voice)).body == b"OggS-changed"
        (tmp_path / "late.pdf").write_bytes(b"%PDF-")
        late = str(by_name(client)["late.pdf"]["id"])
        assert client.graph(late).json()["mime_type"] == "application/pdf"
        (tmp_path / "late.pdf").unlink()
        assert client.graph(late).error["error_subcode"] == 33
        client.graph(voice, "DELETE")
        assert client.graph(voice).error["error_subcode"] == 33
        assert (tmp_path / "voice.opus").exists()
    with running(media_dir=tmp_path) as client:
        assert by_name(client)["voice.opus"]["id"] == voice


def test_uploaded_files_do_not_outlive_the_simulator() -> None:
    with running() as client:
        client.control("POST", "media", b"x" * 1000, Content_Type="image/png")
        folder = client.sim.state.store.new_file().parent
        assert len(list(folder.iterdir())) == 1
        client.control("POST", "media?id=bad-id", b"x", Content_Type="image/png")
        assert len(list(folder.iterdir())) == 1
    assert not folder.exists()


@pytest.mark.parametrize("path", ["/v25.0/500000000000001/media", "/_simulator/media"])
def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_neither_file_nor_traceback(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: image/png\r\n\r\n'
    with running() as client:
        folder = client.sim.state.store.new_file().parent
        with socket.create_connection(("127.0.0.1", client.sim.port), timeout=PATIENCE) as connection:
            request = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.sim.token}\r\n"
            kind = "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 9000000\r\n\r\n"
            connection.sendall((request + kind).encode() + head + bytes(1_000_000))
        if path.startswith("/v25.0"):
            assert client.finished.get(timeout=PATIENCE).outcome == "broken"
            assert list(folder.iterdir()) == []
        assert client.graph(JPEG).status == 200
    assert not folder.exists()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_empty_file_among_other_parts_is_an_upload_and_no_file_is_none() -> None:
    start, end = b"--B\r\nContent-Disposition: form-data; name=", b"\r\n--B--\r\n"
    product = start + b'"messaging_product"\r\n\r\nwhatsapp\r\n'
    other = start + b'"colour"\r\n\r\n' + b"x" * 5000 + b"\r\n"
    file = start + b'"file"; filename="f"\r\nContent-Type: image/png\r\n\r\n'
    with running() as client:
        path, kind = "500000000000001/media", "multipart/form-data; boundary=B"
        taken = client.graph(path, "POST", body=product + other + file + end, Content_Type=kind)
        refused = client.graph(path, "POST", body=product + other.rstrip() + end, Content_Type=kind)
        assert client.graph(taken.json()["id"]).json()["file_size"] == 0
        assert refused.error["code"] == 100
        assert "file" in refused.error["message"]

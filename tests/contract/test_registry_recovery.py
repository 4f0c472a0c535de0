"""Databases that failed over, were read-only, dropped sessions or were replaced are used again at once."""

import asyncio
import shutil
import socket
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text

from tools.postgresql import PostgresqlServer, give_away, postgresql_server
from whaul.model import GraphToken, MetaAccount
from whaul.registry import postgresql as postgresql_backend
from whaul.registry.database import open_engine
from whaul.registry.errors import RegistryUnavailableError
from whaul.registry.registry import Registry, open_registry
from whaul.secrets import Cipher
from whaul.stack.processes import free_ports

pytestmark = pytest.mark.anyio

CIPHER = Cipher(SecretStr(Fernet.generate_key().decode()))


def opened(url: str) -> AbstractAsyncContextManager[Registry]:
    return open_registry(url, CIPHER, account_id="111122223333", region="eu-west-1", create=True)


def account(waba_id: str) -> tuple[MetaAccount, GraphToken]:
    return MetaAccount(waba_id, f"Account {waba_id}", ()), GraphToken(SecretStr("token"))


async def linked(registry: Registry) -> list[str]:
    return [each.meta_waba_id for each in await registry.accounts.all()]


# --- PostgreSQL


async def test_sessions_that_the_server_ended_are_replaced_unnoticed(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    database = postgresql_url.rpartition("/")[2]
    async with opened(postgresql_url) as registry:
        await asyncio.gather(*(registry.accounts.all() for _ in range(5)))
        for number in ("1", "2"):
            postgresql.end_sessions(database)
            await registry.accounts.link(*account(number))
        assert await linked(registry) == ["1", "2"]


async def test_sessions_that_stay_read_only_are_replaced_once_they_refused_a_write(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    database = postgresql_url.rpartition("/")[2]
    postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    async with opened(postgresql_url) as registry:
        await asyncio.gather(*(registry.accounts.all() for _ in range(5)))
        with pytest.raises(RegistryUnavailableError) as refused:
            await registry.accounts.link(*account("1"))
        assert "read-only transaction" in refused.value.reason
        # Nothing is read here: a session that is made before the next line would be read-only, too.
        postgresql.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await asyncio.gather(*(registry.accounts.all() for _ in range(5)), return_exceptions=True)
        await registry.accounts.link(*account("1"))
        assert await linked(registry) == ["1"]


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresqlServer]:
    """A server that a test may stop."""
    with postgresql_server() as server:
        yield server


async def test_a_server_that_started_again_is_used_at_once(own_server: PostgresqlServer) -> None:
    async with opened(own_server.url(own_server.create_database())) as registry:
        await registry.accounts.link(*account("1"))
        own_server.stop()
        with pytest.raises(RegistryUnavailableError):
            await registry.accounts.all()
        own_server.start()
        await registry.accounts.link(*account("2"))
        assert await linked(registry) == ["1", "2"]


@pytest.fixture
def standby(own_server: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """A hot standby: a copy of the server's files that waits for a promotion."""
    own_server.stop()
    folder = own_server.folder / "standby"
    shutil.copytree(own_server.folder / "data", folder / "data", ignore=shutil.ignore_patterns("postmaster.*"))
    (folder / "data" / "standby.signal").touch()
    with free_ports(1) as [port]:
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {port}\nunix_socket_directories = '{folder}'\n")
        give_away(folder)
        server = PostgresqlServer(folder, own_server.binaries, port, own_server.password)
        own_server.start()
        server.start()
        yield server
        server.stop()


async def test_of_several_servers_the_primary_is_written_to_and_the_standby_read_from(
    own_server: PostgresqlServer, request: pytest.FixtureRequest
) -> None:
    name = own_server.create_database()
    async with opened(own_server.url(name)) as registry:
        await registry.accounts.link(*account("1"))
    standby: PostgresqlServer = request.getfixturevalue("standby")
    with free_ports(1) as [dead]:
        hosts = ",".join(f"127.0.0.1:{port}" for port in (dead, standby.port, own_server.port))
        url = own_server.url(name).replace(f"127.0.0.1:{own_server.port}", hosts)
        async with opened(url) as registry:
            await registry.accounts.link(*account("2"))
            own_server.stop()
            with pytest.raises(RegistryUnavailableError):
                await registry.accounts.link(*account("3"))
            assert await linked(registry) == ["1"], "the standby has what it had when it was made"
            own_server.start()
            with pytest.raises(RegistryUnavailableError):  # the standby's refusal ends its sessions
                await registry.accounts.link(*account("3"))
            await registry.accounts.link(*account("3"))
            assert await linked(registry) == ["1", "2", "3"]
        async with opened(f"{url}?target_session_attrs=prefer-standby") as registry:
            assert await linked(registry) == ["1"]
        with pytest.raises(RegistryUnavailableError):
            async with opened(f"{own_server.url(name)}?target_session_attrs=standby"):
                pass


def error_response(severity: str, state: str) -> bytes:
    """https://www.postgresql.org/docs/current/protocol-message-formats.html"""
    fields = b"".join(
        code + value.encode() + b"\0"
        for code, value in ((b"S", severity), (b"V", severity), (b"C", state), (b"M", f"told {state}"))
    )
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


@asynccontextmanager
async def greeting(greet: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server that says one thing to whatever comes, and ends the connection; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1024)
        if first[4:8] == b"\x04\xd2\x16\x2f":  # asks for TLS
            writer.write(b"N")
            first = await reader.read(1024)
        writer.write(greet(first))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (error_response("FATAL", "57P03"), "told 57P03"),  # starting up, or shutting down
        (error_response("FATAL", "57P01"), "told 57P01"),
        (error_response("FATAL", "53300"), "told 53300"),  # too many connections
        (error_response("FATAL", "08P01"), "told 08P01"),  # a pooler's own
        (error_response("FATAL", "28P01"), "told 28P01"),
        (error_response("FATAL", "XX000"), "told XX000"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None),
        (b"", None),
    ],
)
async def test_whatever_a_server_says_instead_of_welcome_is_an_outage(says: bytes, reason: str | None) -> None:
    async with greeting(lambda _: says) as port:
        with pytest.raises(RegistryUnavailableError) as refused:
            async with opened(f"postgresql://whaul:secret@127.0.0.1:{port}/whaul"):
                pass
    assert refused.value.reason == reason or reason is None
    assert "secret" not in refused.value.reason


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_backend, "CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(RegistryUnavailableError) as given_up:
        async with opened(f"postgresql://whaul:secret@127.0.0.1:{silent.getsockname()[1]}/whaul"):
            pass
    assert given_up.value.reason == "no answer in time"


async def test_a_server_that_says_nothing_keeps_nobody_from_the_next(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{postgresql.port}"
        engine = open_engine(postgresql_url.replace(f"127.0.0.1:{postgresql.port}", hosts))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1
        await engine.dispose()


async def test_a_server_that_starts_up_is_passed_over_for_the_next(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    async with greeting(lambda _: error_response("FATAL", "57P03")) as port:
        hosts = f"127.0.0.1:{port},127.0.0.1:{postgresql.port}"
        async with opened(postgresql_url.replace(f"127.0.0.1:{postgresql.port}", hosts)) as registry:
            await registry.accounts.link(*account("1"))


async def test_a_host_whose_name_cannot_be_one_is_an_outage() -> None:
    with pytest.raises(RegistryUnavailableError):
        async with opened(f"postgresql://whaul:secret@{'a' * 64}.invalid/whaul"):
            pass


async def test_connections_are_replaced_before_a_name_means_another_server_for_long() -> None:
    engine = open_engine("postgresql://whaul:secret@127.0.0.1/whaul")
    assert engine.pool._recycle <= 60
    await engine.dispose()


# --- SQLite


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def make(path: Path, waba_id: str) -> None:
    async with opened(f"sqlite:///{path}") as registry:
        await registry.accounts.link(*account(waba_id))


@pytest.mark.parametrize("keeps_old", [False, True])
async def test_a_file_that_was_replaced_under_way_is_followed(folder: Path, keeps_old: bool) -> None:
    path, other, moved = folder / "whaul.db", folder / "other.db", folder / "moved.db"
    await make(other, "9")
    async with opened(f"sqlite:///{path}") as registry, opened(f"sqlite:///{path}") as neighbour:
        await asyncio.gather(*(registry.accounts.link(*account(str(number))) for number in range(3)))
        await neighbour.accounts.link(*account("3"))  # lies in the log still
        if keeps_old:
            path.rename(moved)
        other.replace(path)
        assert await linked(registry) == ["9"]
        await registry.accounts.link(*account("10"))
        assert await linked(neighbour) == ["9", "10"]
        await neighbour.accounts.link(*account("11"))
        assert await linked(registry) == ["9", "10", "11"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    if keeps_old:
        async with opened(f"sqlite:///{moved}") as registry:
            assert sorted(await linked(registry)) == ["0", "1", "2", "3"]


async def test_a_file_that_was_gone_for_a_while_is_used_again(folder: Path) -> None:
    path = folder / "whaul.db"
    async with opened(f"sqlite:///{path}") as registry:
        await registry.accounts.link(*account("1"))
        path.rename(folder / "away.db")
        for _ in range(2):
            with pytest.raises(RegistryUnavailableError):
                await registry.accounts.all()
            with pytest.raises(RegistryUnavailableError):
                await registry.accounts.link(*account("2"))
        (folder / "away.db").rename(path)
        await registry.accounts.link(*account("2"))
        assert await linked(registry) == ["1", "2"]


async def test_a_file_that_was_damaged_for_a_while_is_used_again(folder: Path) -> None:
    path = folder / "whaul.db"
    await make(path, "1")
    whole = path.read_bytes()
    async with opened(f"sqlite:///{path}") as registry:
        path.write_bytes(b"x" * len(whole))
        with pytest.raises(RegistryUnavailableError):
            await registry.accounts.all()
        path.write_bytes(whole)
        assert await linked(registry) == ["1"]

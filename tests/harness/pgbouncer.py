"""A real PgBouncer in transaction mode before a PostgreSQL; Debian's package has the program."""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from harness.waiting import PATIENCE
from tools.postgresql import PostgresqlServer, as_nobody, give_away
from whaul.stack.processes import free_ports

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
logfile = {folder}/log
pidfile = {folder}/pid
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
"""


class PgbouncerMissingError(Exception):
    """There is no PgBouncer that could be started here."""


@contextmanager
def pgbouncer(server: PostgresqlServer) -> Iterator[int]:
    """Run one that keeps no prepared statements; its port is the answer. All databases are reached by their names."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise PgbouncerMissingError("the program pgbouncer is not here; Debian's package pgbouncer has it")
    with tempfile.TemporaryDirectory(prefix="whaul-pgbouncer-", dir="/tmp") as name, free_ports(1) as [port]:
        folder = Path(name)
        (folder / "users").write_text(f'"whaul" "{server.password}"\n')
        configuration = CONFIGURATION.format(server=server.port, port=port, folder=folder)
        if _version(found) >= (1, 21):
            configuration += "max_prepared_statements = 0\n"
        (folder / "ini").write_text(configuration)
        give_away(folder)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen([found, str(folder / "ini")], stdout=output, stderr=output, **as_nobody())
        try:
            _wait(process, server.url("postgres", port), folder / "log")
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _version(program: str) -> tuple[int, ...]:
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", shown)[:2]))


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    async def connect() -> None:
        await (await asyncpg.connect(url, statement_cache_size=0)).close()

    end = time.monotonic() + PATIENCE
    while True:
        try:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, connect()).result()
        except (OSError, asyncpg.PostgresError):
            if process.poll() is not None or time.monotonic() > end:
                raise PgbouncerMissingError(f"PgBouncer did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.02)
        else:
            return

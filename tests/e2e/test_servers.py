"""The gateway under other conditions: several workers, another ASGI server, and TLS in front and behind."""

import os
import re
import shutil
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.client import send
from harness.store import Store, stand_in
from harness.waiting import PATIENCE, eventually
from harness.world import MEDIA_PATH, SERVE, World, gateway
from tools.certificates import Certificates, make_certificates
from whaul.simulator import Simulator

JPEG, VOICE, PDF = "100000000000001", "100000000000002", "100000000000003"


@pytest.mark.long
def test_two_workers_answer_together_and_their_counters_are_joined(
    world: World, simulator: Simulator, store: Store, prefix: str
) -> None:
    with gateway(world, {"WHAUL_WORKERS": "2"}, command=SERVE) as running:
        eventually(lambda: running.log.read_text(encoding="utf-8").count('"event":"ready"') == 2)
        assert running.get_to(VOICE, prefix)["fileSize"] == simulator.media[VOICE].size
        body = b"{}"
        for _ in range(20):  # each on a connection of its own, so that both workers get some
            assert send(running.port, "POST", MEDIA_PATH, body, {}).status == 403
        counted = re.compile(
            r'^whaul_calls_total\{operation="GetWhatsAppMessageMedia",outcome="Missing\w+"\} (\S+)$', re.MULTILINE
        )

        def count() -> set[float]:
            texts = [send(running.port, "GET", "/metrics", b"", {}).body.decode() for _ in range(8)]
            return {float(counts[0]) for text in texts if (counts := counted.findall(text))}

        eventually(lambda: count() == {20.0})
        text = send(running.port, "GET", "/metrics", b"", {}).body.decode()
        assert f"whaul_stored_bytes_total {float(simulator.media[VOICE].size)}" in text
        assert "\nwhaul_workers 2.0\n" in text
        assert "\nwhaul_worker_starts_total 2.0\n" in text
        assert "\nwhaul_database_up 1.0\n" in text
        log = running.log.read_text(encoding="utf-8")
        workers = re.findall(r"Spawning worker-(\d) with PID: (\d+)", log)
        callers = {line["worker"] for line in running.calls()}
    assert {number for number, _ in workers} == {"1", "2"}
    assert callers <= {int(pid) for _, pid in workers}
    assert len(store.read(f"{prefix}{VOICE}.ogg")) == simulator.media[VOICE].size


def test_the_gateway_is_a_plain_asgi_application(world: World, simulator: Simulator, store: Store, prefix: str) -> None:
    command = (sys.executable, "-m", "uvicorn", "--factory", "whaul.app:create_app")
    with gateway(world, {}, command=command) as running:
        assert running.get_to(JPEG, prefix)["fileSize"] == simulator.media[JPEG].size
        with pytest.raises(running.client().exceptions.ResourceNotFoundException):
            running.get("999999999999999")
        assert running.send("POST", "/nowhere").code == "UnknownOperationException"
    assert store.read(f"{prefix}{JPEG}.jpeg") == simulator.media[JPEG].read()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_the_gateway_serves_tls(world: World, simulator: Simulator, certificates: Certificates, prefix: str) -> None:
    settings = {"WHAUL_TLS_CERT_FILE": str(certificates.chain), "WHAUL_TLS_KEY_FILE": str(certificates.key)}
    with gateway(world, settings, command=SERVE, ca_file=certificates.authority) as running:
        assert running.get_to(PDF, prefix)["fileSize"] == simulator.media[PDF].size
        new = ssl.create_default_context(cafile=certificates.authority)
        assert tls_version(running.port, new) == "TLSv1.3"
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(certificates.authority)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert tls_version(running.port, old) == "TLSv1.2"


@pytest.mark.long
def test_a_renewed_certificate_is_served_after_sighup(world: World, simulator: Simulator, tmp_path: Path) -> None:
    old, new = (make_certificates(folder) for folder in (tmp_path / "old", tmp_path / "new"))
    settings = {"WHAUL_TLS_CERT_FILE": str(old.chain), "WHAUL_TLS_KEY_FILE": str(old.key)}
    simulator.fault(PDF, kind="latency", seconds=30, times=1)
    with gateway(world, settings, command=SERVE, ca_file=old.authority) as running, ThreadPoolExecutor(1) as pool:
        call = pool.submit(running.get, PDF, metadataOnly=True)
        eventually(lambda: simulator.count(PDF)["metadata"] == 1)
        shutil.copy2(new.chain, old.chain)
        shutil.copy2(new.key, old.key)
        os.kill(running.process.pid, signal.SIGHUP)
        eventually(lambda: is_trusted(running.port, new))
        simulator.advance(30)
        assert call.result()["fileSize"] == simulator.media[PDF].size  # the old worker finished it


def is_trusted(port: int, certificates: Certificates) -> bool:
    """Whether a client that trusts this authority takes the server's certificate."""
    try:
        return tls_version(port, ssl.create_default_context(cafile=certificates.authority)) is not None
    except OSError:
        return False


def tls_version(port: int, context: ssl.SSLContext) -> str | None:
    """The version that a server and a client agree on."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as encrypted:
        return encrypted.version()


@contextmanager
def tls_in_front_of(port: int, certificates: Certificates) -> Iterator[int]:
    """Take TLS connections at a port of its own and pass what is in them on to a plain one."""
    context = certificates.server_context()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=_pass_on, args=(context, connection, port), daemon=True).start()

        thread = threading.Thread(target=serve, name="tls")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _pass_on(context: ssl.SSLContext, connection: socket.socket, port: int) -> None:
    """Copy in both directions until the client is done."""
    with (
        suppress(OSError),
        context.wrap_socket(connection, server_side=True) as outside,
        socket.create_connection(("127.0.0.1", port)) as inside,
        ThreadPoolExecutor(1) as pool,
    ):
        back = pool.submit(_copy, inside, outside)
        _copy(outside, inside)
        inside.shutdown(socket.SHUT_RDWR)
        back.result()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
def test_further_authorities_are_trusted_for_meta_and_s3(
    *,
    world: World,
    simulator: Simulator,
    certificates: Certificates,
    store: Store,
    prefix: str,
    variable: str,
) -> None:
    s3_port = int(store.endpoint.url.rpartition(":")[2])
    media_id = simulator.add_generated(3_000_000, "image/png")
    with (
        tls_in_front_of(simulator.port, certificates) as graph_port,
        tls_in_front_of(s3_port, certificates) as tls_s3_port,
    ):
        simulator.configure(media_base_url=f"https://localhost:{graph_port}")
        settings = {
            "WHAUL_GRAPH_URL": f"https://localhost:{graph_port}",
            "WHAUL_MEDIA_HOSTS": f"localhost:{graph_port}",
            "AWS_ENDPOINT_URL_S3": f"https://localhost:{tls_s3_port}",
            variable: str(certificates.authority),
        }
        with gateway(world, settings) as running:
            assert running.get_to(media_id, prefix)["fileSize"] == 3_000_000
    assert store.read(f"{prefix}{media_id}.png") == simulator.media[media_id].read()


def test_an_authority_that_is_not_trusted_fails_the_call_and_says_so(
    world: World, simulator: Simulator, certificates: Certificates
) -> None:
    assert simulator.requests == []
    with tls_in_front_of(simulator.port, certificates) as port:
        settings = {"WHAUL_GRAPH_URL": f"https://localhost:{port}", "WHAUL_DEADLINE": "3"}
        with gateway(world, settings) as running:
            client = running.client()
            with pytest.raises(client.exceptions.DependencyException, match="certificate"):
                running.get(PDF)
    assert simulator.requests == []


def test_a_further_presigned_host_is_filled_over_tls(
    world: World, simulator: Simulator, certificates: Certificates
) -> None:
    settings = {"WHAUL_PRESIGNED_HOSTS": "localhost", "SSL_CERT_FILE": str(certificates.authority)}
    with stand_in(certificates.server_context()) as store, gateway(world, settings) as running:
        url = {"url": f"{store.url}/bucket/key?X-Amz-Signature=1&X-Amz-SignedHeaders=host", "headers": {}}
        assert running.get(PDF, destinationS3PresignedUrl=url)["fileSize"] == simulator.media[PDF].size
        assert bytes.fromhex(store.only.sha256) == simulator.media[PDF].sha256()
        elsewhere = url | {"url": url["url"].replace("localhost", "127.0.0.1")}  # type: ignore[attr-defined]
        with pytest.raises(running.client().exceptions.InvalidParametersException):
            running.get(PDF, destinationS3PresignedUrl=elsewhere)

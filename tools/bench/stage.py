"""The servers that all contestants meet: Graph API, media host and S3 in one nginx with TLS on loopback."""

import hashlib
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tools.bench.installs import NotThere, nginx
from tools.bench.workloads import KINDS
from tools.certificates import make_certificates
from whaul.stack.processes import free_ports, program, wait_until

BUCKET = "inbox"
START_TIMEOUT = 30.0
WORKERS = 2

_NGINX = """
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    types {{ {types} }}
    default_type application/octet-stream;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_timeout 300s;
    send_timeout 300s;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    map $kind $description {{
{descriptions}
    }}
    upstream origin {{ server unix:{folder}/origin.sock; keepalive 1024; }}
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_session_cache shared:tls:10m;
        location ~ ^/v[0-9.]+/(?<media>[0-9]+f(?<kind>[a-z0-9]+))$ {{
            default_type application/json;
            if ($http_authorization = "") {{ return 401; }}
            if ($description = "") {{ return 404; }}
            return 200 '{{$description,"id":"$media","messaging_product":"whatsapp"}}';
        }}
        location /files/ {{
            if ($http_authorization = "") {{ return 401; }}
            root {folder};
        }}
        location = /{bucket}/ {{ proxy_pass http://origin; }}
        location /{bucket}/ {{
            if ($request_method != PUT) {{ return 404; }}
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 300s;
            proxy_send_timeout 300s;
        }}
        location = /served {{ stub_status; }}
    }}
}}
"""


@dataclass(frozen=True)
class Counted:
    """What the stage has seen so far."""

    puts: int
    bytes: int
    requests: int | None
    """All requests; unknown without nginx."""

    def since(self, before: "Counted") -> "Counted":
        """What came after an earlier count; asking for the count is a request too."""
        requests = None
        if self.requests is not None and before.requests is not None:
            requests = self.requests - before.requests - 1
        return Counted(self.puts - before.puts, self.bytes - before.bytes, requests)


@dataclass(frozen=True)
class Stage:
    """The running servers."""

    url: str
    ca_file: Path
    folder: Path
    nginx: str
    """Which nginx serves, for the report."""
    with_nginx: bool

    @property
    def host(self) -> str:
        """Host and port."""
        return self.url.removeprefix("https://")

    def counted(self) -> Counted:
        """Ask what was seen so far."""
        connection = _UnixConnection(self.folder / "origin.sock")
        connection.request("GET", "/counts")
        seen = json.loads(connection.getresponse().read())
        connection.close()
        return Counted(seen["puts"], seen["bytes"], self._requests())

    def _requests(self) -> int | None:
        if not self.with_nginx:
            return None
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(f"{self.url}/served", context=context, timeout=10) as answer:
            return int(answer.read().split()[9])


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextmanager
def stage(folder: Path, environ: dict[str, str]) -> Iterator[Stage]:
    """Run the servers while the block runs; they keep their files in `folder`."""
    with free_ports(1) as [port]:
        yield from _stage(folder, environ, port)


def _stage(folder: Path, environ: dict[str, str], port: int) -> Iterator[Stage]:
    certificates = make_certificates(folder)
    url = f"https://127.0.0.1:{port}"
    files = _files(folder, url)
    config: dict[str, object] = {"socket": str(folder / "origin.sock")}
    server: Path | None = None
    try:
        server = nginx()
        version = subprocess.run([server, "-v"], capture_output=True, text=True, check=True, timeout=START_TIMEOUT)
        title = f"{version.stderr.rpartition('/')[2].strip()}, {WORKERS} workers, on loopback with TLS"
    except NotThere as reason:
        print(f"bench: {reason}: a slower server of our own takes its place", file=sys.stderr, flush=True)
        title = "none: tools/bench/origin.py takes its place"
        config |= {"port": port, "cert": str(certificates.chain), "key": str(certificates.key), "files": files}
    (folder / "origin.json").write_text(json.dumps(config), encoding="utf-8")
    with ExitStack() as stack:
        line = [sys.executable, str(Path(__file__).with_name("origin.py")), str(folder / "origin.json")]
        log = folder / "origin.log"
        process = stack.enter_context(program(line, environ, log))
        wait_until((folder / "origin.sock").exists, process, "The origin", log, START_TIMEOUT)
        if server is not None:
            (folder / "nginx.conf").write_text(_configuration(folder, port, files), encoding="utf-8")
            line = [str(server), "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(folder / "nginx.conf")]
            log = folder / "nginx.out"
            process = stack.enter_context(program(line, environ, log))
        wait_until(lambda: _listens(port), process, "The server", log, START_TIMEOUT)
        yield Stage(url, certificates.authority, folder, title, with_nginx=server is not None)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _configuration(folder: Path, port: int, files: dict[str, dict[str, object]]) -> str:
    descriptions = [f"        {name} '{json.dumps(file['description'])[1:-1]}';" for name, file in files.items()]
    mime_types = {kind.extension: kind.mime_type for kind in KINDS.values()}
    types = " ".join(f"{mime_type} {extension};" for extension, mime_type in mime_types.items())
    return _NGINX.format(
        user="user root;" if os.geteuid() == 0 else "",  # its workers must read a folder that is only ours
        workers=WORKERS,
        folder=folder,
        types=types,
        descriptions="\n".join(descriptions),
        port=port,
        bucket=BUCKET,
    )


def _files(folder: Path, url: str) -> dict[str, dict[str, object]]:
    """Make one file of each kind, of bytes that do not compress."""
    (folder / "files").mkdir()
    generator = random.Random(20261123)
    found: dict[str, dict[str, object]] = {}
    for kind in KINDS.values():
        path = folder / "files" / f"{kind.name}.{kind.extension}"
        data = generator.randbytes(kind.size)
        path.write_bytes(data)
        description = {
            # As long as Meta's, and like them with a query.
            "url": f"{url}/files/{path.name}?mid=1013859600285441&source=getMedia&ext=1764028800&hash=ARnq6vJ1bench",
            "mime_type": kind.mime_type,
            "sha256": hashlib.sha256(data).hexdigest(),
            "file_size": kind.size,
        }
        found[kind.name] = {"path": str(path), "description": description}
    return found

"""A real nginx as a load balancer: round robin, connections kept, and no probes, as it comes.

Nothing is set that would hide a lost call: nginx repeats a POST elsewhere only if it could not be sent. With
`max_fails=0` it never counts a server as down; otherwise three that restart within its `fail_timeout` are all down.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from whaul.stack.processes import free_ports, program, wait_until

START_TIMEOUT = 20.0
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream whaul {{
        {servers}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://whaul;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_read_timeout 65s;
        }}
    }}
}}
"""


class NginxMissingError(Exception):
    """The program nginx is not here; Debian's package nginx-light has it."""

    def __init__(self) -> None:
        super().__init__((type(self).__doc__ or "").strip())


def nginx_program() -> str:
    """Find it. Raises `NginxMissingError`."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NginxMissingError
    return found


@contextmanager
def nginx(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run one before the servers at these ports while the block runs; yield its URL."""
    command = [nginx_program(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with free_ports(1) as [port]:
        servers = "\n        ".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, servers=servers, port=port))
        subprocess.run([*command, "-t", "-q"], check=True)
        with program(command, {}, folder / "nginx.log") as process:
            wait_until(lambda: _listens(port), process, "nginx", folder / "error.log", START_TIMEOUT)
            yield f"http://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False

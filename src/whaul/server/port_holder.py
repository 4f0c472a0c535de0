"""Finds out who listens on a port of this machine, as far as Linux says; elsewhere nobody is found."""

from contextlib import suppress
from pathlib import Path

LISTENING = "0A"
"""https://docs.kernel.org/networking/proc_net_tcp.html"""


def port_holder(port: int) -> str | None:
    """Name the program that listens on a port, and its process; None where that cannot be known.

    Other users' programs cannot be looked at. Arguments are not told: they may be secret.
    """
    sockets = _sockets(port)
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def _sockets(port: int) -> set[str]:
    """What a descriptor of the listening socket is a link to."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for row in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = row.split()
                if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{rest[5]}]")
    return found

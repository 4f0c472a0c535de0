"""The TCP sockets of this process at a port, as the system lists them, and what Linux's kernel does for them.

The server beneath opens them and shows them to nobody.
"""

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

_OPEN_FILES = "/proc/self/fd"
_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
# A program of Linux's packet filter, in the order of its instructions: load the flags of the TCP header, keep SYN and
# ACK, go on to the next but one unless only SYN is set, drop, or let pass.
# https://www.kernel.org/doc/html/latest/networking/filter.html
_DROPS_SYN = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 65535))
)


def sockets_at(port: int) -> Iterator[tuple[int, socket.socket]]:
    """The sockets with their inodes, each as a duplicate, so that it stays itself while it is looked at."""
    try:
        names = [path.name for path in Path(_OPEN_FILES).iterdir()]
    except OSError:  # no such list here, or no file is left to open
        return
    inodes = set()  # the list's own descriptor may be one of our duplicates by now
    for name in names:
        try:
            status = os.fstat(int(name))
            if not stat.S_ISSOCK(status.st_mode) or status.st_ino in inodes:
                continue
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # closed meanwhile
            continue
        inodes.add(status.st_ino)
        if _is_at(found, port):
            yield status.st_ino, found
        else:
            found.close()


def hold_off_connections(port: int) -> None:
    """Let no new connection begin at the port, for the sake of those that wait to be accepted: closing ends them.

    Who begins one tries again after a second, and is then told that nobody listens, or reaches another listener.
    """
    program = ctypes.create_string_buffer(_DROPS_SYN, len(_DROPS_SYN))
    option = struct.pack("HP", len(_DROPS_SYN) // _INSTRUCTION.size, ctypes.addressof(program))
    for _, found in sockets_at(port):
        with closing(found), suppress(OSError):  # a system that imitates Linux's need not have it
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


def _is_at(found: socket.socket, port: int) -> bool:
    if found.family not in {socket.AF_INET, socket.AF_INET6} or found.type != socket.SOCK_STREAM:
        return False
    try:
        return bool(found.getsockname()[1] == port)
    except OSError:
        return False

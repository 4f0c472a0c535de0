"""The console over a local stack."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from whaul import extras
from whaul.stack.local import HOST, ITSELF, Stack, whaul
from whaul.stack.processes import StackError, answers, program, wait_until

NAME: Final = "dev"
"""Of the access key that it makes to sign in with."""
LINK_LIFE: Final = "1h"
START_TIMEOUT: Final = 60.0


def settings(port: int) -> dict[str, str]:
    """Say where it listens, as whoever uses the stack has to know. Raises `StackError` if packages are missing."""
    missing = extras.missing("console")
    if missing:
        raise StackError(f"The console needs {missing}. Or do without it: whaul dev --no-console")
    return {"WHAUL_CONSOLE_LISTEN": f"{HOST}:{port}"}


@contextmanager
def console(running: Stack, port: int, log: Path) -> Iterator[tuple[Stack, str]]:
    """Run it while the block runs; yield the stack with it, and a link that signs in once. Raises `StackError`."""
    environ = {**running.environment(), **running.servers, **settings(port)}  # by the first it knows of the simulator
    with program([*ITSELF, "console"], environ, log) as process:
        key = _key(environ)
        wait_until(lambda: answers(f"http://{HOST}:{port}/healthz"), process, "The console", log, START_TIMEOUT)
        link = whaul(["console", "link", "--key", key, "--expires-in", LINK_LIFE], environ)["url"]
        yield replace(running, _console=process), str(link)


def _key(environ: Mapping[str, str]) -> str:
    """Find the access key of the console, or make it; `whaul console link` needs no name then."""
    known = [key["accessKeyId"] for key in whaul(["keys", "list"], environ)["accessKeys"] if key["name"] == NAME]
    return str(known[0] if known else whaul(["keys", "create", "--name", NAME, "--allow-all"], environ)["accessKeyId"])

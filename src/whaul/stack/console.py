"""The console over a local stack."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from whaul.stack.local import HOST, ITSELF, Stack, whaul
from whaul.stack.processes import answers, program, wait_until

NAME: Final = "dev"
"""Of the access key that it makes to sign in with."""
START_TIMEOUT: Final = 60.0


@contextmanager
def console(running: Stack, port: int, log: Path) -> Iterator[str]:
    """Run it while the block runs; yield a link that signs in, once, within a minute. Raises `StackError`."""
    environ = {**running.servers, "WHAUL_CONSOLE_LISTEN": f"{HOST}:{port}"}
    with program([*ITSELF, "console"], environ, log) as process:
        key = _key(environ)
        wait_until(lambda: answers(f"http://{HOST}:{port}/healthz"), process, "The console", log, START_TIMEOUT)
        yield str(whaul(["console", "link", "--key", key], environ)["url"])


def _key(environ: Mapping[str, str]) -> str:
    """Find the access key of the console, or make it; `whaul console link` needs no name then."""
    known = [key["accessKeyId"] for key in whaul(["keys", "list"], environ)["accessKeys"] if key["name"] == NAME]
    return str(known[0] if known else whaul(["keys", "create", "--name", NAME, "--allow-all"], environ)["accessKeyId"])

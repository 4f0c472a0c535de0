"""AWS's SNS, SQS and EventBridge as moto's server plays them: a process of its own, started when a test wants it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from harness.installs import TOOLS, install_from_pypi

MOTO = "moto[events]>=5,<6 flask flask-cors"
"""Of its extra `server`, what these three services need: the rest takes three times as long to install."""
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}
"""It takes any key."""


@contextmanager
def moto_server() -> Iterator[str]:
    """Run one; the answer is its URL."""
    home = TOOLS / "moto"
    program = home / "bin" / "moto_server"
    install_from_pypi(MOTO, home, program.exists)
    command = [program, "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr)
            found = next((match for line in lines if (match := re.search(r"http://127\.0\.0\.1:\d+", line))), None)
            assert found is not None, "moto's server did not start"
            yield found[0]
        finally:
            process.kill()

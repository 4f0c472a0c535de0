"""Docker Compose, as Debian ships it, before podman's own service, and stand-ins for the images of others."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.waiting import eventually
from tools.containers import CHECKOUT, STORE, Containers
from tools.debian import done, unpacked

SUITE = "trixie"
PROGRAM = STORE / f"docker-compose-{SUITE}"
STAND_INS = CHECKOUT / "tests" / "packaging" / "stand_ins"
IMAGES = {
    "chrislusf/seaweedfs": "seaweedfs",
    "caddy": "caddy",
    "postgres": "postgres",
    "prom/prometheus": "prometheus",
}
"""The published images by name, and the stage that stands in for each."""


@dataclass
class Project:
    """Compose files that are brought up under a name of their own."""

    containers: Containers
    environment: dict[str, str]
    files: list[Path]
    name: str
    program: Path
    _stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self, *arguments: str, **more: Any) -> str:
        """Run `docker compose`; return what it printed."""
        files = [f"--file={path}" for path in self.files]
        command = [self.program, f"--project-name={self.name}", *files, *arguments]
        return done(list(map(str, command)), env=self.environment, **more)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self("ps", "--all", "--quiet", service).strip()

    def published(self, service: str, port: int) -> int:
        return int(self("port", service, str(port)).strip().rpartition(":")[2])

    def look_after_health(self) -> None:
        """Run health checks, as an engine with timers does by itself; podman leaves that to systemd."""
        starting = ("--filter=health=starting", f"--filter=label=com.docker.compose.project={self.name}")
        while not self._stop.wait(1):
            shown = self.containers.podman("ps", "--quiet", *starting)
            for container in shown.split():
                subprocess.run(
                    ["podman", "healthcheck", "run", container],
                    env=self.containers.environment,
                    capture_output=True,
                    check=False,
                )

    @contextmanager
    def up(self, *options: str) -> Iterator[None]:
        """Bring it up while the block runs; then nothing of it is left, volumes neither."""
        health = threading.Thread(target=self.look_after_health)
        health.start()
        try:
            self("up", "--detach", "--quiet-pull", *options)
            yield
        finally:
            self._stop.set()
            health.join()
            self("down", "--volumes", "--timeout=1", "--remove-orphans")


@contextmanager
def docker_compose(containers: Containers) -> Iterator[Any]:
    """Yield what makes a `Project` of files, while podman's service runs."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="whaul-compose-", dir="/tmp") as name:
        socket = Path(name) / "docker.sock"
        environment = {**containers.environment, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": name}
        serve = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
        with (Path(name) / "log").open("wb") as log:
            service = subprocess.Popen(serve, env=containers.environment, stdout=log, stderr=log)
        try:
            eventually(socket.exists)
            yield lambda name, *files, **environ: Project(
                containers, environment | environ, list(files), f"whaul-{os.getpid()}-{name}", program
            )
        finally:
            service.terminate()
            service.wait(60)


def _program() -> Path:
    if not PROGRAM.exists():
        made = PROGRAM.with_name(f"{PROGRAM.name}.{os.getpid()}")
        unpacked("docker-compose", made, SUITE)
        made.rename(PROGRAM)
    return PROGRAM / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose"


def stand_in(containers: Containers, image: str) -> None:
    """Build what stands in for a published image, under its name, unless it is there."""
    if containers.has(image):
        return
    containers.base()
    stage = IMAGES[image.partition(":")[0]]
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        for path in STAND_INS.iterdir():
            shutil.copy(path, context)
        if stage == "seaweedfs":
            shutil.copy(Path(sys.executable).with_name("weed"), context)
        containers.build(image, context / "Containerfile", context, f"--target={stage}")

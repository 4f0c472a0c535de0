"""Images and containers on this machine, as root, by Debian's podman and buildah: for tests of packaging, and releases.

No registry is asked. The image that others are built on is made of Debian's packages, from the mirror that apt uses.
Images are kept in a store of their own, for the next run, and no other podman's images or networks are touched.
"""

import hashlib
import os
import re
import resource
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.debian import MachineError, done, install, mirror

PACKAGES = (
    "aardvark-dns",
    "buildah",
    "ca-certificates",
    "catatonit",
    "conmon",
    "iptables",
    "mmdebstrap",
    "netavark",
    "podman",
    "runc",
)
BASE = "debian:trixie-slim"
LEFT_OUT = [
    f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "groff", "info", "lintian", "locale", "man")
]
"""As in the published image of that name."""
CHECKOUT = Path(__file__).parents[1]
SOURCES = (
    *(".dockerignore", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md"),
    *("docs", "src", "packaging/Containerfile", "packaging/prune.py"),
)
"""What goes into the image."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
STORE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whaul-containers"
SUBNET = "10.213.77.0/24"
POOL = "10.213.128.0/17"
"""Of the containers' networks. They are not reached from other machines."""


@dataclass(frozen=True)
class Container:
    """One that runs, or ran."""

    name: str
    containers: "Containers"

    def execute(self, *command: str, text: str = "") -> str:
        """Run a command in it, with a text as its standard input; return what it printed."""
        return self.containers.podman("exec", "--interactive", self.name, *command, stdin=None, input=text)

    def published(self, port: int) -> int:
        """The port of 127.0.0.1 at which a port of the container is reached."""
        return int(self.containers.podman("port", self.name, str(port)).strip().rpartition(":")[2])

    def logs(self) -> str:
        """What it has written to both of its outputs."""
        command = ["podman", "logs", self.name]
        shown = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.containers.environment, check=True
        )
        return shown.stdout.decode(errors="replace")

    def stop(self, grace: int = 70) -> int:
        """Stop it as an orchestrator does; return its exit code. What does not stop within the grace is killed: 137."""
        self.containers.podman("stop", "--time", str(grace), self.name)
        return int(self.containers.podman("inspect", "--format", "{{.State.ExitCode}}", self.name))


@dataclass(frozen=True)
class Containers:
    """podman and buildah with a store and settings of their own."""

    environment: Mapping[str, str]

    def podman(self, *arguments: str, **more: object) -> str:
        """Run podman; return what it printed."""
        return done(["podman", *arguments], env=self.environment, **more)

    @contextmanager
    def running(self, image: str, *command: str, options: Sequence[str] = ()) -> Iterator[Container]:
        """Run a container in the background; it is removed at the end, with its volumes."""
        name = f"whaul-{secrets.token_hex(6)}"
        try:
            self.podman("run", "--detach", "--name", name, *options, image, *command)
            yield Container(name, self)
        finally:
            self.podman("rm", "--force", "--time=0", "--volumes", "--ignore", name)

    @contextmanager
    def build_options(self) -> Iterator[list[str]]:
        """What a build needs on this machine. apt and pip fetch from where they do here."""
        with tempfile.TemporaryDirectory() as folder:
            pip = Path(folder) / "pip.conf"
            pip.write_text(_pip_settings())
            mounts = [f"--volume={pip}:/etc/pip.conf:ro"]
            if CERTIFICATES.exists():
                mounts.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
            yield ["--isolation=chroot", "--network=host", "--layers", *mounts]

    def build(self, tag: str, containerfile: Path, context: Path, *options: str) -> None:
        """Build an image."""
        with self.build_options() as how:
            # `docker`: the other format has no health checks.
            command = ["buildah", "build", "--format=docker", *how, *options, "--tag", tag]
            done([*command, "--file", str(containerfile), str(context)], env=self.environment)

    def base(self) -> str:
        """The image that others are built on, made here once; return its name."""
        if not self.has(BASE):
            with tempfile.TemporaryDirectory() as folder:
                archive = Path(folder) / "base.tar"
                minimal = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", *LEFT_OUT]
                done([*minimal, "trixie", archive, mirror()])
                self.podman("import", "--quiet", str(archive), BASE)
        return BASE

    def has(self, image: str) -> bool:
        """Whether it is in the store."""
        asked = subprocess.run(["podman", "image", "exists", image], env=self.environment, check=False)
        return asked.returncode == 0

    def whaul(self) -> str:
        """The image of this checkout's whaul, built unless it is there already; return its name."""
        image = f"localhost/whaul:{_fingerprint()}"
        if not self.has(image):
            self.base()
            self.build(image, CHECKOUT / "packaging" / "Containerfile", CHECKOUT)
        return image


@contextmanager
def containers() -> Iterator[Containers]:
    """Install what is missing on this machine and make podman's and buildah's settings; root only."""
    if os.geteuid() != 0:
        raise MachineError("images are built and run as root here")
    install(*PACKAGES)
    STORE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="whaul-containers-") as name:
        folder = Path(name)
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        _, processes = resource.getrlimit(resource.RLIMIT_NPROC)
        # Not every machine lets even root raise a limit.
        limits = [f"nofile={_limit(files, 8192)}", f"nproc={_limit(processes, 4096)}"]
        (folder / "containers.conf").write_text(
            f"""
[containers]
default_ulimits = ["{limits[0]}", "{limits[1]}"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
compat_api_enforce_docker_hub = false
[network]
network_backend = "netavark"
network_config_dir = "{STORE}/networks"
default_network = "whaul"
default_subnet = "{SUBNET}"
default_subnet_pools = [{{ base = "{POOL}", size = 24 }}]
"""
        )
        (folder / "storage.conf").write_text(
            f"""
[storage]
driver = "overlay"
graphroot = "{STORE}/store"
runroot = "/run/whaul-containers"
"""
        )
        settings = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        yield Containers(os.environ | settings)


def _limit(hard: int, wanted: int) -> str:
    value = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    return f"{value}:{value}"


def _pip_settings() -> str:
    """The package indexes that pip uses here, but for those on this machine's disk, which a build does not see."""
    lines = ["[global]"]
    if CERTIFICATES.exists():
        lines.append(f"cert = {CERTIFICATES}")
    for line in done([sys.executable, "-m", "pip", "config", "list"]).splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if re.fullmatch(r"(extra-)?index.url|trusted-host|proxy", key):
            reached = [part for part in value.strip("'").split() if not part.startswith("file:")]
            if reached:
                lines.append(f"{key} = {' '.join(reached)}")
    return "\n".join(lines) + "\n"


def _fingerprint() -> str:
    """A name for what goes into the image."""
    listed = done(["git", "ls-files", "--cached", "--others", "--exclude-standard", *SOURCES], cwd=CHECKOUT)
    digest = hashlib.sha256()
    for name in sorted(listed.splitlines()):
        path = CHECKOUT / name
        if path.is_file():
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]

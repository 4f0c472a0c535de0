"""The container image, built by whichever of the usual programs is here, as an archive that all of them load."""

import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.release.programs import ReleaseError, Revision, run

CONTAINERFILE = "packaging/Containerfile"
BUILDERS = ("buildah", "podman", "docker")
VERSION_LABEL = "org.opencontainers.image.version"


def builder() -> str:
    """Find a program that builds images."""
    for name in BUILDERS:
        if shutil.which(name):
            return name
    raise ReleaseError(f"None of {', '.join(BUILDERS)} is here, to build the image.")


def build_image(revision: Revision, source: Path, folder: Path, options: Sequence[str]) -> Path:
    """Build the image of a source tree, check it, and write it as an archive into `folder`."""
    version = revision.version
    name = f"whaul:{version}"
    archive = folder / "image.tar"
    program = builder()
    stated = [f"--build-arg=VERSION={version}", f"--build-arg=REVISION={revision.commit}"]
    what = ["--file", source / CONTAINERFILE, "--tag", name, *stated, *options]
    if program == "docker":
        run(["docker", "buildx", "build", *what, "--output", f"type=docker,dest={archive}", source])
    else:
        # `docker`: the other format, and the archives that go with it, have no health check.
        run([program, "build", "--format", "docker", "--timestamp", revision.epoch, *what, source])
        run([program, "push", name, f"docker-archive:{archive}:{name}"])
    found = configuration(archive)
    label = (found["config"].get("Labels") or {}).get(VERSION_LABEL)
    if label != version:
        raise ReleaseError(f"The image's label {VERSION_LABEL} is {label!r}; expected {version!r}.")
    if "Healthcheck" not in found["config"]:
        raise ReleaseError("The image has lost its health check.")
    return archive.rename(folder / f"whaul-{version}-{found['os']}-{found['architecture']}.tar")


def configuration(archive: Path) -> Any:
    """Read the configuration of the one image in an archive."""
    with tarfile.open(archive) as content:

        def document(name: str) -> Any:
            return json.loads(content.extractfile(name).read())  # type: ignore[union-attr] # a file, not a folder

        (image,) = document("manifest.json")
        return document(image["Config"])

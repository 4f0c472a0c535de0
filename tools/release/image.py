"""The container image, built by whichever of the usual programs is here, as an OCI archive."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from tools.release.programs import ReleaseError, run

CONTAINERFILE = "packaging/Containerfile"
BUILDERS = ("buildah", "podman", "docker")
VERSION_LABEL = "org.opencontainers.image.version"


def builder() -> str:
    """Find a program that builds images."""
    for name in BUILDERS:
        if shutil.which(name):
            return name
    raise ReleaseError(f"None of {', '.join(BUILDERS)} is here, to build the image.")


def build_image(copy: Path, version: str, archive: Path, epoch: str) -> None:
    """Build the image of a clean copy, write it as an OCI archive, and check its label."""
    name = f"localhost/whaul:{version}"
    program = builder()
    options = ["--file", copy / CONTAINERFILE, "--build-arg", f"VERSION={version}", "--tag", name]
    if program == "docker":
        run(["docker", "buildx", "build", *options, "--output", f"type=oci,dest={archive}", copy])
    else:
        run([program, "build", "--format", "oci", "--timestamp", epoch, *options, copy])
        run([program, "push", name, f"oci-archive:{archive}:{name}"])
    label = labels(archive).get(VERSION_LABEL)
    if label != version:
        raise ReleaseError(f"The image's label {VERSION_LABEL} is {label!r}; expected {version!r}.")


def labels(archive: Path) -> dict[str, str]:
    """Read the labels of the image in an OCI archive: https://specs.opencontainers.org/image-spec/image-layout/."""
    with tarfile.open(archive) as content:

        def document(name: str) -> Any:
            return json.loads(content.extractfile(name).read())  # type: ignore[union-attr] # a file, not a folder

        found = document("index.json")
        while manifests := found.get("manifests"):
            found = document(_blob(manifests[0]))
        config = document(_blob(found["config"]))
    return config.get("config", {}).get("Labels") or {}


def _blob(descriptor: dict[str, str]) -> str:
    return "blobs/" + descriptor["digest"].replace(":", "/")

"""A whole release, of a copy of this checkout with a version of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.installs import helm
from tools.containers import CHECKOUT, Containers
from tools.release.checks import CHANGELOG

VERSION = "99.0.1"
AUTHOR = ("-c", "user.name=A", "-c", "user.email=a@example.com")


@dataclass(frozen=True)
class Released:
    folder: Path
    commit: str
    said: str


@pytest.fixture(scope="module")
def released(machine: Containers, tmp_path_factory: pytest.TempPathFactory) -> Released:
    folder = tmp_path_factory.mktemp("release") / "checkout"

    def git(*arguments: str) -> str:
        command = ["git", *AUTHOR, *arguments]
        return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def release(*arguments: str) -> str:
        programs = os.pathsep.join([str(helm().parent), machine.environment["PATH"]])
        done = subprocess.run(
            [sys.executable, "-m", "tools.release", *arguments],
            check=False,
            cwd=folder,
            env=machine.environment | {"PATH": programs},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    subprocess.run(["git", "clone", "--quiet", "--depth=1", CHECKOUT.as_uri(), folder], check=True)
    changelog = folder / CHANGELOG
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", "## Unreleased\n\n- Something.\n", 1))
    release("--prepare", VERSION)
    git("commit", "--quiet", "--all", "--message", VERSION)
    git("tag", f"v{VERSION}")
    machine.base()
    with machine.build_options() as options:
        said = release(*(f"--image-option={option}" for option in options))
    return Released(folder / "dist", git("rev-parse", "HEAD")[:10], said)


def test_all_parts_are_there_with_their_sums(released: Released) -> None:
    files = {file.name for file in released.folder.iterdir()}
    assert {name.replace(VERSION, "V") for name in files} == {
        "SHA256SUMS",
        "whaul-V-linux-amd64.tar",
        "whaul-V-py3-none-any.whl",
        "whaul-V.cdx.json",
        "whaul-V.tar.gz",
        "whaul-V.tgz",
    }
    assert all(name in released.said for name in files)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=released.folder, check=True)
    assert len((released.folder / "SHA256SUMS").read_text().splitlines()) == len(files) - 1


def test_the_bill_of_materials_names_the_product_and_no_place_on_this_machine(released: Released) -> None:
    text = (released.folder / f"whaul-{VERSION}.cdx.json").read_text()
    bill = json.loads(text)
    product = bill["metadata"]["component"]
    assert (product["name"], product["version"]) == ("whaul", VERSION)
    assert {"botocore", "granian"} <= {component["name"] for component in bill["components"]}
    assert "file:" not in text


def test_the_chart_is_of_the_version(released: Released) -> None:
    command = [helm(), "show", "chart", released.folder / f"whaul-{VERSION}.tgz"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert {f"version: {VERSION}", f"appVersion: {VERSION}"} <= set(shown.splitlines())


def test_the_image_loads_and_runs_as_the_version_and_commit(machine: Containers, released: Released) -> None:
    image = f"whaul:{VERSION}"
    machine.podman("load", "--quiet", "--input", str(released.folder / f"whaul-{VERSION}-linux-amd64.tar"))
    try:
        assert machine.podman("run", "--rm", image, "--version") == f"whaul {VERSION} (commit {released.commit})\n"
    finally:
        machine.podman("rmi", "--force", image)

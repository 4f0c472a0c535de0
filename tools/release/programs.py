"""How the programs that build a release are run, and of which commit."""

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


class ReleaseError(Exception):
    """A release cannot be built; the message says why and what to do."""


def run(command: Iterable[object], *, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Run a program and return its output. `ReleaseError` shows the end of what it said if it fails."""
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(
            arguments, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        raise ReleaseError(f"`{arguments[0]}` cannot be started: {error.strerror}") from error
    if done.returncode:
        raise ReleaseError(
            f"`{shlex.join(arguments)}` ended with exit code {done.returncode}:\n{done.stdout[-4000:].rstrip()}"
        )
    return done.stdout


def git(root: Path, *arguments: str) -> str:
    """Ask git about the checkout."""
    return run(["git", "-C", root, *arguments]).rstrip("\n")


@dataclass(frozen=True)
class Revision:
    """The commit that is released, and as which version."""

    root: Path
    version: str

    @cached_property
    def commit(self) -> str:
        """Its hash."""
        return git(self.root, "rev-parse", "HEAD")

    @cached_property
    def build_environment(self) -> dict[str, str]:
        """Our environment, with the time that a build is to write into its files: that of the commit."""
        return os.environ | {"SOURCE_DATE_EPOCH": self.epoch}

    @cached_property
    def epoch(self) -> str:
        """When it was made, in Unix time."""
        return git(self.root, "log", "-1", "--format=%ct")

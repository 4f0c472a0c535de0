"""What the extras of the package add, and what to say where a package of one is missing."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "console": ("jinja2", "python_multipart", "starlette"),
    "oidc": ("joserfc",),
}
"""Python packages by the extra that they come with."""


def missing(*extras: str) -> str | None:
    """Say which packages of some extras are missing, and how to install them; None if all are there."""
    for extra in extras:
        absent = [name for name in PACKAGES[extra] if find_spec(name) is None]
        if absent:
            noun = "package" if len(absent) == 1 else "packages"
            return f"the Python {noun} {', '.join(absent)}; install the extra: pip install 'whaul[{extra}]'"
    return None

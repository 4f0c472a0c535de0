"""Print what whaul needs with some extras: for a layer of the image that stays the same when only whaul changes."""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]


def needed(requirements: Iterable[str]) -> Iterator[str]:
    """Yield these and, of an extra of whaul's own, those that it stands for."""
    for requirement in requirements:
        if requirement.startswith("whaul["):
            for extra in filter(None, requirement[len("whaul[") : -1].split(",")):
                yield from needed(PROJECT["optional-dependencies"][extra])
        else:
            yield requirement


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in needed([*PROJECT["dependencies"], f"whaul[{sys.argv[1]}]"]))

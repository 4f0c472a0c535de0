"""Writes src/whaul/api/service.json: the facts of the service's model in the installed botocore, without its prose.

`./run model` runs it. `--check` only compares: exit code 1, and what to do, when the file is not the model.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore
from botocore.loaders import Loader

SERVICE = "socialmessaging"
FILE = Path(__file__).parents[1] / "src" / "whaul" / "api" / "service.json"
TRAITS = ("required", "min", "max", "pattern", "enum", "sensitive")
"""What is taken over of a shape, besides its type and what it is made of."""


def facts(model: Mapping[str, Any]) -> dict[str, Any]:
    """Take over operations, the errors' statuses, and the shapes that operations use."""
    operations = {name: _operation(operation) for name, operation in sorted(model["operations"].items())}
    shapes = model["shapes"]
    roots = [operation[side] for operation in operations.values() for side in ("input", "output")]
    return {
        "apiVersion": model["metadata"]["apiVersion"],
        "operations": operations,
        "errors": {
            name: shape["error"]["httpStatusCode"] for name, shape in sorted(shapes.items()) if shape.get("exception")
        },
        "shapes": {name: _shape(shapes[name]) for name in sorted(_used(shapes, roots))},
    }


def _operation(operation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": operation["http"]["method"],
        "path": operation["http"]["requestUri"],
        "input": operation["input"]["shape"],
        "output": operation["output"]["shape"],
        "errors": sorted(error["shape"] for error in operation["errors"]),
    }


def _shape(shape: Mapping[str, Any]) -> dict[str, Any]:
    fact = {"type": shape["type"]} | {trait: shape[trait] for trait in TRAITS if trait in shape}
    if "members" in shape:
        fact["members"] = {
            name: {
                key: member[key]
                for key in ("shape", "location", "locationName")
                if key in member and (key != "locationName" or member[key] != name)
            }
            for name, member in shape["members"].items()
        }
    return fact | {part: shape[part]["shape"] for part in ("member", "key", "value") if part in shape}


def _used(shapes: Mapping[str, Any], roots: list[str]) -> set[str]:
    used: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        if name not in used:
            used.add(name)
            left += _parts(shapes[name])
    return used


def _parts(shape: Mapping[str, Any]) -> Iterator[str]:
    for member in shape.get("members", {}).values():
        yield member["shape"]
    for part in ("member", "key", "value"):
        if part in shape:
            yield shape[part]["shape"]


def written(document: Mapping[str, Any]) -> str:
    """Render the file, a line for each operation and shape, so that a change of the model is a small diff."""
    parts = []
    for key, value in document.items():
        text = json.dumps(value)
        if isinstance(value, dict):
            rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items())
            text = f"{{\n{rows}\n }}"
        parts.append(f' "{key}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def difference(file: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """Say in what the file is not the installed model, and what to do; None if it is."""
    kept = {key: value for key, value in file.items() if key != "botocore"}
    if kept == model:
        return None
    names = {
        f"{table}.{name}"
        for table in ("operations", "errors", "shapes")
        for name in {*file[table], *model[table]}
        if file[table].get(name) != model[table].get(name)
    }
    if _version(botocore.__version__) < _version(file["botocore"]):
        advice = f"It is older than {file['botocore']}, which the file was written from: install that or a newer one."
    else:
        advice = "Run ./run model, read the difference, and build, document and test what it asks for."
    return f"The model in botocore {botocore.__version__} is not that of {FILE.name}: {sorted(names)}. {advice}"


def installed() -> dict[str, Any]:
    """Read the facts of the model in the installed botocore."""
    return facts(Loader().load_service_model(SERVICE, "service-2"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is not the model")
    model = installed()
    if not parser.parse_args().check:
        FILE.write_text(written({"botocore": botocore.__version__} | model), encoding="utf-8")
        return 0
    problem = difference(json.loads(FILE.read_text(encoding="utf-8")), model)
    if problem:
        sys.stderr.write(f"{problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    raise SystemExit(main())

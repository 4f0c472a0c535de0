"""The control endpoint as an OpenAPI document: its rows, with the types of the code for members and answers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from whaul import __version__
from whaul.simulator.control.row import Row
from whaul.simulator.control.shown import Refusal
from whaul.simulator.faults import KINDS, parameters

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
JSON = "application/json"
INFO = {
    "title": "The control endpoint of whaul's simulator",
    "description": "Steers a simulated Graph API for WhatsApp: media, messages, webhooks, faults and time.",
    "version": __version__,
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
WITHOUT_BODY = frozenset({"GET", "DELETE"})
"""Methods whose members are in the query."""


def document(rows: Iterable[Row], prefix: str, origin: str) -> Schema:
    """Describe all rows."""
    rows = list(rows)
    shown, components = msgspec.json.schema_components([row.shown for row in rows], ref_template=REFERENCE)
    (refusal,), more = msgspec.json.schema_components([Refusal], ref_template=REFERENCE)
    paths: dict[str, Schema] = {}
    for row, answer in zip(rows, shown, strict=True):
        paths.setdefault(prefix + row.path, {})[row.method.lower()] = _operation(row, answer, refusal)
    found: Schema = _as_ecma(
        {
            "openapi": "3.1.0",
            "info": INFO,
            "servers": [{"url": origin}],
            "paths": paths,
            "components": {"schemas": {**components, **more, "Fault": _fault()}},
        }
    )
    return found


def _operation(row: Row, answer: Schema, refusal: Schema) -> Schema:
    properties, required = _members(row)
    in_path = re.findall(r"{(\w+)}", row.path)
    in_query = [name for name in properties if name not in in_path] if _has_query(row) else []
    parameters = [_parameter("path", name, properties[name], required=True) for name in in_path]
    parameters += [_parameter("query", name, properties[name], required=name in required) for name in in_query]
    found: Schema = {
        "operationId": "_".join([row.method.lower(), *re.findall(r"\w+", row.path)]),
        "description": row.does,
        "parameters": parameters,
        "responses": {
            str(row.status): {"description": "Done.", "content": {JSON: {"schema": answer}}},
            "400": {"description": "What was sent cannot be.", "content": {JSON: {"schema": refusal}}},
            "404": {"description": "There is nothing with this id.", "content": {JSON: {"schema": refusal}}},
        },
    }
    if body := _body(row, {name: one for name, one in properties.items() if name not in in_path}, required):
        found["requestBody"] = body
    return found


def _members(row: Row) -> tuple[dict[str, Schema], set[str]]:
    """The members of a row as schemas, and the names of those that must be there."""
    _, components = msgspec.json.schema_components([row.shape], ref_template=REFERENCE)
    shape = components[row.shape.__name__]
    properties = {name: one for name, one in shape["properties"].items() if name in row.members}
    return properties, set(shape["required"]) & properties.keys()


def _has_query(row: Row) -> bool:
    return row.takes_file or row.method in WITHOUT_BODY


def _parameter(place: str, name: str, schema: Schema, *, required: bool) -> Schema:
    found = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in found:  # a query has no null
        (found,) = (one for one in found["anyOf"] if one != {"type": "null"})
    return {"in": place, "name": name, "required": required, "schema": found}


def _body(row: Row, properties: Mapping[str, Schema], required: set[str]) -> Schema | None:
    if row.takes_file:
        return {"required": True, "content": {"*/*": {"schema": {}}}}
    if row.takes_body:
        one: Schema = {"$ref": REFERENCE.format(name="Fault")}
        return {"required": True, "content": {JSON: {"schema": {"anyOf": [one, {"type": "array", "items": one}]}}}}
    if row.method in WITHOUT_BODY or not properties:
        return None
    needed = sorted(required & properties.keys())
    schema = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return {"required": bool(needed), "content": {JSON: {"schema": schema}}}


def _fault() -> Schema:
    """Any kind of fault; each happens at its own hops."""
    kinds = []
    for name, kind in sorted(KINDS.items()):
        _, components = msgspec.json.schema_components([kind])
        shape = components[kind.__name__]
        properties = {**parameters(kind), "kind": {"const": name}}
        kinds.append({**shape, "title": name, "properties": properties, "required": ["kind", *shape["required"]]})
    return {"oneOf": kinds}


def _as_ecma(value: Any) -> Any:
    r"""Write patterns as JSON Schema has them: its `$` is the very end, which is `\Z` in Python."""
    if isinstance(value, dict):
        return {
            key: re.sub(r"\\Z$", "$", one) if key == "pattern" and isinstance(one, str) else _as_ecma(one)
            for key, one in value.items()
        }
    return [_as_ecma(one) for one in value] if isinstance(value, list | tuple) else value

"""The house: who may import whom, how long a module may be, and what it may be called."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import whaul

HOUSE = Path(whaul.__file__).parent
VALUES = {"model", "errors"}

MAY_IMPORT: dict[str, set[str]] = {
    # values, and rules that know nothing but them
    "__init__": set(),
    "model": set(),
    "errors": set(),
    "partitions": set(),
    "threads": set(),
    "arns": {"partitions"},
    "folders": set(),
    "secrets": {"folders"},
    "terminal": set(),
    "sigv4": {"errors"},
    "telemetry": {"__init__", "api", "terminal"},
    "simulator": set(),
    "database_url": set(),
    "outbound": {"errors", "partitions"},
    "environment": {"secrets"},
    "settings": {"__init__", "database_url", "environment", "outbound", "partitions", "secrets", "terminal"},
    # a call's way, from left to right; what a part hands on to is to its right, and never imports it back
    "server": VALUES | {"api", "auth", "registry", "telemetry"},
    "api": {"errors"},
    "auth": VALUES | {"outbound", "sigv4"},
    "registry": {"arns", "database_url", "folders", "model", "secrets"},
    "operations": VALUES
    | {"api", "arns", "auth", "server", "registry", "telemetry", "outbound", "transfer", "graph", "storage"},
    "transfer": VALUES | {"graph", "outbound", "storage", "telemetry"},
    "graph": VALUES | {"outbound", "secrets"},
    "storage": VALUES | {"folders", "outbound", "partitions", "secrets", "sigv4", "threads"},
    "bulk": VALUES | {"outbound", "storage", "threads", "transfer"},
    # those that build the others: nothing but another of them imports them
    "components": {"arns", "graph", "outbound", "registry", "secrets", "settings", "storage", "telemetry"},
    "app": VALUES
    | {"arns", "auth", "components", "operations", "outbound", "registry", "server", "settings", "storage"}
    | {"telemetry", "transfer"},
    "doctor": VALUES | {"graph", "operations", "outbound", "components", "registry", "secrets", "settings", "storage"},
    "stack": {"secrets", "simulator"},
    "testing": VALUES | {"outbound"},
    "cli": VALUES
    | {
        "__init__",
        "arns",
        "auth",
        "bulk",
        "doctor",
        "graph",
        "operations",
        "outbound",
        "components",
        "registry",
        "secrets",
        "server",
        "settings",
    }
    | {"environment", "settings", "simulator", "stack", "storage", "telemetry", "terminal", "transfer"},
    "__main__": {"cli"},
}
"""What of ours each part (a module or a package directly in `whaul`) may import, besides itself."""

BUILDERS = {"app", "components", "stack", "doctor", "cli", "testing", "__main__"}
"""Only these may be imported by these."""

CONSTRUCTED_BY_BUILDERS = {
    "AuditFile",
    "AuditLog",
    "AuditWriter",
    "Authenticator",
    "CachedRegistry",
    "Components",
    "GraphClient",
    "HttpClient",
    "MediaHosts",
    "Metrics",
    "PresignedHosts",
    "RateLimit",
    "Refreshes",
    "S3Store",
    "TransferSlots",
}
MAX_MODULE_LINES = 400
LONGER_MODULES: dict[str, str] = {}
"""Modules that may be longer, each with its reason."""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def modules(house: Path = HOUSE) -> list[Path]:
    return sorted(path for path in house.rglob("*.py"))


def part_of(house: Path, path: Path) -> str:
    first = path.relative_to(house).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """The parts of `package` that a module imports, wherever in it, type checking included."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "a relative import"
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            steps = name.split(".")
            if steps[0] == package:
                second = steps[1] if len(steps) > 1 else "__init__"
                yield "__init__" if second == "__version__" else second


def wrong_imports(house: Path, rules: dict[str, set[str]]) -> list[str]:
    wrong: list[str] = []
    for path in modules(house):
        part = part_of(house, path)
        allowed = rules.get(part, set()) | {part}
        others = imported(ast.parse(path.read_text(encoding="utf-8")), house.name)
        wrong += [f"{path.relative_to(house)} imports {other}" for other in others if other not in allowed]
    return wrong


def test_every_part_imports_only_what_its_row_allows() -> None:
    assert wrong_imports(HOUSE, MAY_IMPORT) == []


def test_the_table_has_a_row_for_every_part_and_no_row_too_many() -> None:
    assert {part_of(HOUSE, path) for path in modules()} == set(MAY_IMPORT)


@pytest.mark.parametrize("left", ["api", "auth"])
@pytest.mark.parametrize("right", ["transfer", "graph", "storage", "registry"])
def test_the_table_keeps_a_call_flowing_one_way(left: str, right: str) -> None:
    assert right not in MAY_IMPORT[left]
    assert left not in MAY_IMPORT[right]
    assert "operations" not in MAY_IMPORT[left] | MAY_IMPORT[right]


@pytest.mark.parametrize("right", ["transfer", "graph", "storage", "registry", "outbound"])
def test_the_table_lets_nothing_behind_the_operations_import_them(right: str) -> None:
    assert not MAY_IMPORT[right] & ({"operations", "settings"} | BUILDERS)


def test_the_table_lets_only_builders_import_builders() -> None:
    importers = {part for part, allowed in MAY_IMPORT.items() if allowed & BUILDERS}
    assert importers <= BUILDERS


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import house.cli", "graph/client.py imports cli"),
        ("from house import cli", "graph/client.py imports cli"),
        ("from house.cli import app", "graph/client.py imports cli"),
        ("from house.operations.media import GetMedia as G", "graph/client.py imports operations"),
        ("def f():\n    from house.app import x", "graph/client.py imports app"),
        ("if TYPE_CHECKING:\n    import house.app", "graph/client.py imports app"),
        ("from ..app import x", "graph/client.py imports a relative import"),
        ("import house", "graph/client.py imports __init__"),
        ("import os, house.model, house.app", "graph/client.py imports app"),
    ],
)
def test_a_wrong_import_is_found_wherever_it_hides(tmp_path: Path, line: str, found: str) -> None:
    house = tmp_path / "house"
    (house / "graph").mkdir(parents=True)
    (house / "graph" / "client.py").write_text(f"{line}\n")
    assert wrong_imports(house, {"graph": {"model"}}) == [found]


@pytest.mark.parametrize("line", ["import os", "from house.model import A", "from house.graph.errors import B"])
def test_a_right_import_is_not_held_against_a_module(tmp_path: Path, line: str) -> None:
    house = tmp_path / "house"
    (house / "graph").mkdir(parents=True)
    (house / "graph" / "client.py").write_text(f"{line}\n")
    assert wrong_imports(house, {"graph": {"model"}}) == []


def test_only_the_builders_construct_the_parts() -> None:
    found = set()
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if CONSTRUCTED_BY_BUILDERS & {call.id for call in calls if isinstance(call, ast.Name)}:
            found.add(part_of(HOUSE, path))
    assert found <= BUILDERS
    assert {"app", "components"} <= found, "the search finds nothing any more"


def test_no_module_is_longer_than_its_readers_patience() -> None:
    lengths = {str(path.relative_to(HOUSE)): len(path.read_text().splitlines()) for path in modules()}
    assert {name for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == set(LONGER_MODULES)


def test_every_module_is_named_for_what_it_holds() -> None:
    names = {path.stem for path in modules()} | {path.parent.name for path in modules()}
    assert not names & NAMES_THAT_SAY_NOTHING


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in modules() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_no_module_does_anything_but_define_when_it_is_imported() -> None:
    """At the top level: docstrings, imports, definitions, assignments, and `__main__`'s one call."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
    acting = {
        f"{path.relative_to(HOUSE)}:{node.lineno}"
        for path in modules()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if not isinstance(node, (*allowed, ast.AnnAssign, ast.If))
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    }
    started = {line for line in acting if line.startswith(("__main__", "cli/__init__", "registry/migrations/env"))}
    assert acting - started == set()


def test_no_test_patches_with_unittest_mock() -> None:
    tests = Path(__file__).parent.parent
    modules_imported = {
        name
        for path in tests.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not {name for name in modules_imported if name and name.startswith("unittest")}

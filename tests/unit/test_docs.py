"""The documentation says what the code does: generated pages are current, and nothing is left out."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from harness.waiting import PATIENCE
from whaul import errors
from whaul.api.service import OPERATIONS
from whaul.arns import Arns
from whaul.auth.policy import Policy
from whaul.cli import app
from whaul.doctor.findings import ELSEWHERE, EXPLAINED
from whaul.environment import environment_name, is_secret
from whaul.settings import Settings
from whaul.simulator.settings import Settings as SimulatorSettings
from whaul.telemetry import catalogue
from whaul.telemetry.call import Call, Hop, Hops
from whaul.telemetry.logs import call_line

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text)


def snippets(language: str) -> list[object]:
    return [
        pytest.param(code, id=f"{path.relative_to(ROOT)}-{number}")
        for path in PAGES
        for number, (kind, code) in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), start=1)
        if kind == language
    ]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)}


def is_long(text: str) -> bool:
    """Whether a page needs a list of its sections at the top."""
    return len(text.split()) > 1000 or "\nOn this page:\n" in text


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_says_which_page_is_not_current_and_writes_nothing(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = page("cli.md")
    monkeypatch.setattr(generate, "CLI_HEAD", "# Other\n")
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert "docs/cli.md" in capsys.readouterr().out
    assert page("cli.md") == before


def test_a_page_without_its_markers_is_refused(generate: ModuleType) -> None:
    with pytest.raises(SystemExit, match="operations"):
        generate.with_part("# Compatibility\n", "operations", "text")


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_has_an_anchor_where_its_errors_point(field: str) -> None:
    assert environment_name(field).lower() in anchors(page("settings.md"))


def test_every_check_of_the_doctor_leads_to_a_section() -> None:
    for place in (*EXPLAINED.values(), ELSEWHERE):
        name, _, section = place.partition("#")
        assert section in anchors(page(f"{name}.md")), place


@pytest.mark.parametrize("field", [name for name, field in Settings.model_fields.items() if is_secret(field)])
def test_every_secret_is_said_to_come_from_a_file_too(field: str) -> None:
    assert f"`{environment_name(field)}_FILE`" in page("settings.md")


def commands(group: Any, path: str) -> Iterator[str]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


COMMANDS = list(commands(typer.main.get_command(app), "whaul"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"\n## `{command}`\n" in page("cli.md")


def test_the_layout_has_a_line_for_every_folder_and_loose_module_and_none_too_many() -> None:
    source = ROOT / "src" / "whaul"
    folders = {path.parent.name for path in source.glob("*/__init__.py")}
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py"}
    rows = re.findall(r"^\| (`[^|]+`) \|", page("layout.md").partition("## Room")[0], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    inner = {name for name in names if "/" in name and (source / name / "__init__.py").is_file()}
    assert sorted(names) == sorted(folders | inner | modules)
    tour = re.findall(r"^\d+\. `([^`]+)`", page("layout.md"), re.MULTILINE)
    assert len(tour) == 10
    assert all((source / name).is_file() for name in tour)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_commands_that_exist_are_named(path: Path) -> None:
    known = {command.removeprefix("whaul ") for command in COMMANDS}
    known |= {command.rpartition(" ")[0] for command in known if command.count(" ") > 1}  # groups within groups
    groups = {command.partition(" ")[0] for command in known if " " in command}
    known |= groups
    text = path.read_text(encoding="utf-8")
    for first, second in re.findall(r"(?:`|\$ (?:\w+=\S+ )*)whaul ([a-z][a-z-]*)(?: ([a-z]+)\b)?", text):
        assert first in known | groups, f"whaul {first}"
        if first in groups and second:
            assert f"{first} {second}" in known, f"whaul {first} {second}"


@pytest.mark.parametrize(
    "error", [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.ApiError)]
)
def test_every_error_is_documented_with_its_status(error: type[errors.ApiError]) -> None:
    if error is errors.ApiError:
        return
    row = re.search(
        rf"^\| \[`{error.__name__}`\]\(#{error.__name__.lower()}\) \| ([\d, ]+) \|", page("errors.md"), re.MULTILINE
    )
    assert row, f"{error.__name__} is not in the overview of errors.md"
    assert str(error.status) in row[1].split(", ")
    assert f"\n## {error.__name__}\n" in page("errors.md")


def test_every_field_of_the_call_line_is_documented() -> None:
    call = Call("id", "operation", "client", "key", "caller", "number", "media", 1, "error", "message", stale=True)
    call.claimed_access_key_id = "claim"
    hops = re.findall(r"^\| `(\w+)` \| ", page("metrics.md").partition("### Parts of a call")[2], re.MULTILINE)[1:9]
    call.hops, call.trace_id = Hops(Hop(name, 0.0, 1.0) for name in hops), "trace"
    section = page("observe.md").partition("## Logs")[2].partition("\n## ")[0]
    for field in call_line(call, 200, 1.0):
        assert f"| `{field}`" in section


@pytest.mark.parametrize("outcome", catalogue.WEBHOOK_OUTCOMES)
def test_every_outcome_of_a_webhook_is_documented(outcome: str) -> None:
    assert f"\n| `{outcome}` |" in page("metrics.md").partition("### Outcomes of webhooks")[2]


def test_every_event_with_a_name_is_documented() -> None:
    section = page("observe.md").partition("### Other events")[2].partition("\n## ")[0]
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    events = re.findall(r"\blogs?\.(?:info|warning|error|lifecycle)\(\s*\"(\w+)\"", source)
    assert {"ready", "stale", "unforeseen"} <= set(events)
    for event in set(events) - {"call"}:
        assert f"`{event}`" in section


def test_every_setting_of_the_simulator_is_documented() -> None:
    text = page("simulator.md")
    assert [name for name in SimulatorSettings.__struct_fields__ if f"`{name}`" not in text] == []


def test_every_operation_is_listed_as_built_or_not() -> None:
    text = page("compatibility.md")
    for operation in OPERATIONS:
        assert text.count(f"\n- `{operation}`\n") == 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"https?://", target):
            continue
        name, _, place = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.is_relative_to(ROOT), target
        assert linked.exists(), target
        if place:
            assert place in anchors(linked.read_text(encoding="utf-8")), target


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if path.name != "CHANGELOG.md" and is_long(path.read_text(encoding="utf-8"))],
    ids=lambda path: path.name,
)
def test_a_long_page_begins_with_links_to_its_sections(path: Path) -> None:
    head, _, rest = path.read_text(encoding="utf-8").partition("\n## ")
    sections = [anchor(title) for title in re.findall(r"^## (.+)$", prose("## " + rest), re.MULTILINE)]
    assert len(sections) > 1
    links = re.findall(r"^(?:- |\| )\[[^\]]+\]\(#([^)]+)\)", head, re.MULTILINE)
    assert links == sections


def test_every_page_is_in_the_index() -> None:
    index = page("README.md")
    for path in DOCS.rglob("*.md"):
        if path != DOCS / "README.md":
            assert f"]({path.relative_to(DOCS)})" in index


def test_the_readme_says_first_what_whaul_is_and_stays_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# whaul"
    assert lines[2].startswith("whaul is ")
    assert "GetWhatsAppMessageMedia" in lines[2]
    assert len(lines) < 90


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tasks_that_are_named_exist(path: Path) -> None:
    tasks = re.findall(r"^task_(\w+)\(\)", (ROOT / "run").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"\./run ([a-z]+)", path.read_text(encoding="utf-8"))
    assert set(named) <= set(tasks)


def test_the_readme_names_the_demo_the_stack_and_the_tests() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "$ ./run demo" in text
    assert "$ ./run dev" in text
    assert "./run test" in text


@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippets_compile(code: str) -> None:
    compile(code, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("code", snippets("json"))
def test_json_snippets_parse_and_policies_are_accepted(code: str) -> None:
    document = json.loads(code)
    if "Statement" in document:
        Policy.parse(code)


def test_the_derivation_of_phone_number_ids_is_the_registrys_own() -> None:
    code = next(code for code in FENCE.findall(page("getting-started.md")) if "def phone_number_id" in code[1])[1]
    function = next(node for node in ast.parse(code).body if getattr(node, "name", "") == "phone_number_id")
    namespace: dict[str, object] = {}
    exec("import hashlib, json\n" + ast.unparse(function), namespace)  # noqa: S102 - our own page
    derive = namespace["phone_number_id"]
    assert callable(derive)
    assert derive("106540352242922") == Arns("000000000000", "us-east-1").phone_number_id("106540352242922")
    assert derive("1", "111122223333") == Arns("111122223333", "us-east-1").phone_number_id("1")

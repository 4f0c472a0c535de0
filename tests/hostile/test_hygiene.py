"""What is in the repository, and what it takes in: no secrets, no traces of machines, and few, bounded dependencies."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAX_TEXT = 1024 * 1024

SECRETS = {
    "an access key id": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a secret access key": r"(?i:secret_?access_?key)\W{1,4}[A-Za-z0-9+/]{40}\b",
    "a token of Meta": r"\bEAA[A-Za-z0-9]{24,}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a key that encrypts": r"(?<![A-Za-z0-9_+/-])[A-Za-z0-9_-]{43}=(?!=)",
    "a token of a code host": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40,}|glpat-[\w-]{20})",
    "a token of a package index": r"\b(?:pypi-[\w-]{50,}|npm_[A-Za-z0-9]{36})",
    "a token of another service": r"\b(?:xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|sk-[A-Za-z0-9]{32,}|sk_live_\w{16,})",
    "a signed token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in a URL": r"\b[a-z][a-z0-9+]*://[^\s/:@'\"{}<>]+:[^\s/@'\"{}<>*]{3,}@",
}
TRACES = {
    "a path of somebody's machine": r"(?<![\w.])/(?:home|Users|root|work|mnt|workspace)/[A-Za-z][\w.-]*",
    "a path of somebody's Windows": r"\b[A-Z]:\\+Users\\+\w+",
    "another package index": r"(?i)--trusted-host|PIP_INDEX_URL|UV_INDEX|\b(?:extra-)?index[-]url\b|\bfind-links\b",
    "a package registry": r"https?://[^\s/]*(?:pypi|pythonhosted|npmjs|artifactory|nexus|jfrog|crates\.io|proxy\.golang)",
}
MADE_UP = {
    r"\bAK?S?IA[A-Z0-9]*(?:EXAMPLE|HOSTILE|TEST|LOCAL)[A-Z0-9]*": "AWS's examples, and keys that say what they are",
    r"\bAKIAA{16}": "an id and nothing else",
    r"d2hhdWwncyB0ZXN0cywgMzIgYnl0ZXMgb2YgYSBrZXk=": "says of itself, in base64, that it is of the tests",
    r"://(?:u|user|us%20er):(?:\w+|p%40ss)@": "users of proxies that there are not",
    r"://(?:whaul:(?:hun[@?#:]?(?:ter2)?|p%40ss%2Fw%3F|word|secret)|s3\.amazonaws\.com:443|localhost:8080)@": (
        "URLs that must be refused"
    ),
    r"EAAhostiletokenofthegateway0123456789": "of these tests",
}
"""What looks like a secret and is none, and why."""


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@cache
def texts() -> dict[str, str]:
    """Every tracked text by its file."""
    contents = {path: path.read_bytes() for path in tracked() if path != Path(__file__)}
    return {
        str(path.relative_to(ROOT)): content.decode("utf-8", "replace")
        for path, content in contents.items()
        if b"\0" not in content
    }


def lines_with(pattern: "re.Pattern[str]") -> Iterator[tuple[str, int, str]]:
    """Every line of them in which the pattern is found: file, number, line."""
    for file, text in texts().items():
        if pattern.search(text):  # most have none, and to look at each line of those takes ten times as long
            for number, line in enumerate(text.splitlines(), start=1):
                if pattern.search(line):
                    yield file, number, line


@pytest.mark.parametrize("kind", SECRETS)
def test_no_tracked_file_holds_a_secret(kind: str) -> None:
    pattern = re.compile(SECRETS[kind])
    made_up = re.compile("|".join(MADE_UP))
    found = [
        f"{file}:{number}: {match[0][:60]}"
        for file, number, line in lines_with(pattern)
        for match in pattern.finditer(line)
        if not made_up.search(match[0])
    ]
    assert found == []


@pytest.mark.parametrize("kind", TRACES)
def test_no_tracked_file_tells_of_the_machine_it_was_made_on(kind: str) -> None:
    found = lines_with(re.compile(TRACES[kind]))
    assert [f"{file}:{number}: {line[:100]}" for file, number, line in found] == []


def test_no_tracked_file_is_a_database_a_key_or_a_log() -> None:
    forbidden = {".db", ".key", ".pem", ".p12", ".pfx", ".log", ".sqlite", ".env", ".coverage", ".pyc"}
    names = [path for path in tracked() if path.suffix in forbidden or path.name in forbidden]
    assert names == []


def test_tracked_files_are_small() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > MAX_TEXT] == []


# --- dependencies ------------------------------------------------------------------------------------------------


def requirements(extra: str | None = None) -> list[str]:
    project = PROJECT["project"]
    listed = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return [text.partition(";")[0].strip() for text in listed if not text.startswith("whaul[")]


EVERY = requirements() + [text for extra in PROJECT["project"]["optional-dependencies"] for text in requirements(extra)]


@pytest.mark.parametrize("requirement", sorted(set(EVERY) | set(PROJECT["build-system"]["requires"])))
def test_a_dependency_has_bounds(requirement: str) -> None:
    assert re.search(r">=\s*\d", requirement)
    if requirement not in PROJECT["build-system"]["requires"]:
        assert re.search(r",\s*<\s*\d", requirement), "the next major version is not known to work"


def test_every_dependency_says_what_it_is_for() -> None:
    block = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2].partition("\n]")[0]
    assert [line for line in block.strip().splitlines() if "#" not in line] == []


# --- the linter's security rules ---------------------------------------------------------------------------------


EXCEPTIONS = {"src/whaul/events/**": ["S608"]}
"""The linter takes every statement that is put together for an injection; the next test but one looks closer."""
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|CREATE TABLE|DROP TABLE)\b")
WORDS = {
    "readable",
    "after",
    "assignments",
    "bounds",
    "chosen",
    "column",
    "columns",
    "condition",
    "content",
    "day",
    "destination",
    "first",
    "given",
    "gone",
    "int",
    "jobs",
    "key",
    "leased",
    "limit",
    "lock",
    "marks",
    "members",
    "names",
    "now",
    "of",
    "old",
    "only_if",
    "order",
    "over",
    "parameter",
    "place",
    "self",
    "state",
    "store",
    "table",
    "types",
    "values",
    "waiting",
    "waits",
    "where",
    "which",
    "_lock",
    "_name",
}
"""Tables, columns and conditions of ours, marks of parameters, numbers, and what a store says of its database."""


def test_the_security_rules_of_the_linter_hold_for_the_whole_package() -> None:
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S") and rule[1:].isdigit()] == []
    for pattern, rules in lint["per-file-ignores"].items():
        if pattern.startswith("src"):
            assert [rule for rule in rules if re.fullmatch(r"S\d*", rule)] == EXCEPTIONS.get(pattern, []), pattern


def test_only_words_of_our_own_are_put_into_a_statement() -> None:
    """Values are parameters. What a statement of events is put together of is looked at here, when it is new."""
    found = {
        (file.name, root)
        for file in (ROOT / "src" / "whaul" / "events").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr) and SQL.search("".join(_constants(node)))
        for part in node.values
        if isinstance(part, ast.FormattedValue)
        for root in sorted({name.id for name in ast.walk(part.value) if isinstance(name, ast.Name)})
    }
    assert {(name, word) for name, word in found if word not in WORDS and not word.isupper()} == set()


def _constants(node: ast.JoinedStr) -> list[str]:
    return [str(part.value) for part in node.values if isinstance(part, ast.Constant)]


def test_every_exception_to_a_security_rule_has_a_reason() -> None:
    found = lines_with(re.compile(r"#\s*(?:ruff:\s*)?noqa"))
    silenced = [(file, number, line) for file, number, line in found if file.startswith("src/")]
    for file, number, line in silenced:
        assert re.search(r"# noqa: [A-Z]+\d+", line), f"{file}:{number} silences every rule"
        if re.search(r"noqa:[^-]*\bS\d", line):
            assert re.search(r"noqa: [A-Z0-9, ]+ - \w", line), f"{file}:{number} does not say why"
    assert any("noqa: S" in line for _, _, line in silenced)

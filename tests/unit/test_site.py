"""The documentation site: how pages are rewritten for it, and what its checks find. `./run check` builds it."""

from pathlib import Path

import pytest

from tools.site import checks, pages

PAGE = '<html><head><link rel="stylesheet" href="own.css"></head><body id="top">{}</body></html>'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="other.html">there</a>', "links other.html, which is not there"),
        ('<a href="#nowhere">here</a>', "links #nowhere, which is not there"),
        ('<a href="index.html#nowhere">here</a>', "links index.html#nowhere, which is not there"),
        ('<a href="/other.html">there</a>', "links /other.html, which is not there"),
        ('<a href="../outside.html">out</a>', "links ../outside.html, which is not there"),
        ('<img src="none.png">', "links none.png, which is not there"),
        ('<img src="https://example.com/badge.svg">', "loads https://example.com/badge.svg"),
        ('<img srcset="own.png 1x, //example.com/a.png 2x">', "loads //example.com/a.png"),
        ('<script src="//example.com/x.js"></script>', "loads //example.com/x.js"),
        ('<link rel="preconnect" href="https://example.com">', "loads https://example.com"),
        ("<style>@import 'https://example.com/x.css';</style>", "loads something from elsewhere"),
        ('<p style="background: url(//example.com/x.png)">x</p>', "loads something from elsewhere"),
        ("<p>And:\n- a list without a line before it</p>", "shows Markdown"),
        ("<p>| a | b |\n|---|---|</p>", "shows Markdown"),
        ("<p>[a link](page.md)</p>", "shows Markdown"),
    ],
)
def test_what_is_wrong_with_a_page_is_found(tmp_path: Path, body: str, problem: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").write_text("", encoding="utf-8")
    for name in ("own.css", "own.png"):
        (site / name).write_text("", encoding="utf-8")
    (site / "index.html").write_text(PAGE.format(body), encoding="utf-8")
    found = [one.removeprefix("index.html ") for one in checks.problems(site)]
    assert any(one.startswith(problem) for one in found), found


def test_a_page_that_links_elsewhere_and_loads_its_own_is_right(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text("a { background: url(own.png) }", encoding="utf-8")
    body = '<a href="https://example.com/">out</a> <a href="#top">up</a> <pre>- no list</pre> <code>[a](b)</code>'
    (tmp_path / "index.html").write_text(PAGE.format(body), encoding="utf-8")
    assert list(checks.problems(tmp_path)) == []


def test_a_style_sheet_that_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text("@font-face { src: url('https://example.com/font.woff2') }", encoding="utf-8")
    assert list(checks.problems(tmp_path)) == ["own.css loads something from elsewhere"]


def test_links_hold_at_the_new_places_and_code_stays(tmp_path: Path) -> None:
    pages.write(tmp_path)
    written = {
        path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.md")
    }
    assert len(written) == len(pages.sources()) + 1
    assert "](../settings.md#whaul_max_file_size)" in written["decisions/0002-one-put.md"]
    assert "](project/contributing.md)" in written["pages.md"]
    assert "](../security.md)" in written["project/security.md"]
    assert (tmp_path / "benchmarks" / "results.json").is_file()
    assert "whaul is a server between" in written["index.md"]
    assert "$ ./run demo" in written["index.md"]
    assert (tmp_path / "flow.svg").is_file()


def test_what_belongs_to_an_item_is_indented_as_the_site_needs_it() -> None:
    text = "1. One\n\n   ```sh\n   a\n   ```\n\n2. Two\n   more\n\nAfter\n   this\n\n- a\n\n  b\n"
    assert pages._indented(text) == (
        "1. One\n\n    ```sh\n    a\n    ```\n\n2. Two\n    more\n\nAfter\n   this\n\n- a\n\n    b\n"
    )


def test_the_list_for_language_models_has_each_page_with_what_it_is_for() -> None:
    said = pages.llms()
    assert said.startswith("# whaul\n\n> whaul is a server between")
    assert "\n## Receive\n\n- [Receive messages and their files](receive.md): from an account" in said
    assert said.count("](") == sum(len(found) for _, found in pages.groups())

"""Builds the site into build/site/html and checks it: `python -m tools.site`; with `--serve` it can be looked at."""

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tools.site import checks, pages

SITE = pages.ROOT / "build" / "site"
HTML = SITE / "html"
PORT = 4820


def build(folder: Path = SITE) -> list[str]:
    """Build the site anew; return what is wrong with it."""
    shutil.rmtree(folder, ignore_errors=True)
    markdown = folder / "pages"
    pages.write(markdown)
    groups = [{title: [{one.title: one.place} for one in found]} for title, found in pages.groups()]
    settings = (pages.HERE / "zensical.toml").read_text(encoding="utf-8")
    lines = [f"    {_toml(entry)}," for entry in ({"Home": pages.HOME}, *groups)]
    nav = "\n".join(["nav = [", *lines, "]"])
    (folder / "zensical.toml").write_text(settings.replace("[project]\n", f"[project]\n{nav}\n", 1), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        return [done.stdout + done.stderr]
    html = folder / "html"
    for path in markdown.rglob("*.md"):
        shutil.copy(path, html / path.relative_to(markdown))
    (html / "llms.txt").write_text(pages.llms(), encoding="utf-8")
    return list(checks.problems(html))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)


def main() -> int:
    """Build, and serve if that is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help=f"serve it at http://127.0.0.1:{PORT}, until Ctrl-C")
    serve = parser.parse_args().serve
    found = build()
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if found:
        return 1
    sys.stdout.write(f"{len(list(HTML.rglob('*.html')))} pages in {HTML.relative_to(pages.ROOT)}\n")
    if serve:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=HTML)
        with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler) as server, suppress(KeyboardInterrupt):
            print(f"http://127.0.0.1:{PORT}", flush=True)
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

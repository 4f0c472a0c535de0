"""`./run release`: build what a release consists of from a tag, prove it, and say what to upload.

The source package is made from a clean copy of the commit, and everything else from the source package. Nothing appears
in the folder before all of it is there and the demo ran from the wheel in an empty environment. Nothing is uploaded.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.release.chart import helm, package_chart
from tools.release.checks import prepare, problems, tagged_version
from tools.release.image import build_image, builder
from tools.release.packages import bill_of_materials, build_packages, install, try_demo, unpack
from tools.release.programs import ReleaseError, Revision

ROOT = Path(__file__).parents[2]
PARTS: dict[str, Callable[[], str]] = {"image": builder, "chart": helm}
"""What a release may be built without, for it needs a program that not every machine has."""


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Do what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="./run release", description=__doc__)
    parser.add_argument("--prepare", metavar="VERSION", help="write a version and today into the files, and end")
    parser.add_argument("--version", help="try the release of this version; default: the tag vX.Y.Z of this commit")
    parser.add_argument("--without", action="append", default=[], choices=PARTS, help="leave it out; may be repeated")
    parser.add_argument("--image-option", action="append", default=[], help="an option for the build of the image")
    parser.add_argument("--output", type=Path, default=root / "dist", help="an empty folder, or none (default: dist)")
    parser.add_argument("--dry-run", action="store_true", help="check what can be checked before building, and end")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.prepare:
            prepare(root, chosen.prepare, datetime.now(UTC).date())
            return 0
        version = chosen.version or tagged_version(root)
        revision = Revision(root, version)
        found = [*problems(root, version), *_missing(chosen.without), *_occupied(chosen.output)]
        if found:
            raise ReleaseError("\n".join(f"- {problem}" for problem in found))
        _say(f"{version} can be built from {revision.commit[:10]}")
        if not chosen.dry_run:
            _build(revision, chosen.without, chosen.output, chosen.image_option)
    except ReleaseError as error:
        sys.stderr.write(f"No release:\n{error}\n")
        return 1
    return 0


def _missing(without: Sequence[str]) -> list[str]:
    found = []
    for part, find in PARTS.items():
        try:
            if part not in without:
                find()
        except ReleaseError as error:
            found.append(f"{error} Install one, or leave it out with `--without {part}`.")
    return found


def _occupied(output: Path) -> list[str]:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        return [f"{output} is not empty. Remove it, or choose another folder with --output."]
    return []


def _build(revision: Revision, without: Sequence[str], output: Path, image_options: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="whaul-release-") as name:
        work = Path(name)
        made = work / "made"
        made.mkdir()
        source, wheel = build_packages(revision, made)
        _say(f"{source.name}, {wheel.name}: built twice, equal to the byte")
        programs = install(wheel, work / "environment")
        bill = made / f"whaul-{revision.version}.cdx.json"
        bill_of_materials(revision, programs, bill)
        _say(f"{bill.name}: the wheel and what it installs")
        try_demo(revision, programs, wheel)
        _say("whaul demo: ran from the wheel in an empty environment")
        tree = unpack(source, work / "source")
        if "chart" not in without:
            _say(f"{package_chart(tree, made).name}: linted and packaged")
        if "image" not in without:
            image = build_image(revision, tree, made, image_options)
            _say(f"{image.name}: built by {builder()}, labelled {revision.version}")
        _sum(made)
        shutil.copytree(made, output, dirs_exist_ok=True)
    _say_what_to_upload(output, without)


def _sum(folder: Path) -> None:
    """Write what `sha256sum --check` reads."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="ascii")


def _say_what_to_upload(output: Path, without: Sequence[str]) -> None:
    """End with what a person does next; CONTRIBUTING says how."""
    _say(f"\nIn {output}:")
    for file in sorted(output.iterdir()):
        _say(f"  {file.name}  {file.stat().st_size / 1e6:.1f} MB")
    for part in without:
        _say(f"NOT BUILT: {part}")
    _say("Nothing was uploaded. CONTRIBUTING.md#release says what goes where.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

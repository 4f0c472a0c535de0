"""Tables of what happened, for the terminal and for docs/reliability.md."""

import os
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from tools.faults.fault_table import LINK_NAMES, SIZES, Row
from tools.faults.matrix import Cell
from tools.faults.process_faults import Story
from tools.faults.soak import CALLERS, SHARE, Soak

BEGIN = "<!-- figures: begin; written by ./run faults --write -->"
END = "<!-- figures: end -->"
EVENT_MARKS = (
    "<!-- events: begin; written by ./run faults --events --write -->",
    "<!-- events: end -->",
)
MIB = 1024 * 1024


def verdict(cell: Cell) -> str:
    """One square in words: how often the fault struck, and how the calls ended."""
    stored = [run for run in cell.runs if run.result.stored]
    refused = [run for run in cell.runs if not run.result.stored]
    parts = []
    if stored:
        parts.append(f"{len(stored)} stored, {median(run.seconds for run in stored):.1f} s")
    if refused:
        errors = sorted({run.result.error.removesuffix("Exception") for run in refused})
        parts.append(f"{len(refused)} refused ({', '.join(errors)})")
    if not cell.good:
        parts.append("**LOSS**" if cell.losses else "**NOT AS EXPECTED**")
    return "; ".join(parts) or "not run"


def line_of(cell: Cell) -> str:
    """A cell, as it is told while the matrix runs."""
    mark = "ok  " if cell.good else "LOSS" if cell.losses else "FAIL"
    where = LINK_NAMES[cell.row.link]
    return f"{mark} {where:17} {cell.row.name:52} {cell.destination:13} {cell.size_name:6} hit {cell.hits:3}  " + (
        verdict(cell)
    )


def line_of_story(story: Story) -> str:
    mark = "ok  " if story.good else "LOSS" if story.losses else "FAIL"
    if story.skipped:
        return f"SKIP {story.name:70} {story.skipped}"
    return f"{mark} {story.name:70} injected {story.injected:3}  {story.stored} stored, {story.refused} refused"


def problems(cells: Iterable[Cell], stories: Iterable[Story], soak: Soak | None) -> list[str]:
    """All losses and all unmet expectations, in sentences."""
    found = [f"{cell.name}: {text}" for cell in cells for text in (*cell.losses, *cell.misses)]
    found += [f"{story.name}: {text}" for story in stories for text in (*story.losses, *story.misses)]
    if soak is not None:
        found += [f"soak: {text}" for text in (*soak.losses, *soak.misses)]
    return found


def matrix_table(cells: Sequence[Cell]) -> str:
    rows: dict[Row, dict[tuple[str, str], Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.row, {})[cell.destination, cell.size_name] = cell
    columns = [(destination, size) for destination in ("S3 file", "presigned URL") for size in SIZES]
    head = ["link", "fault", "struck", *(f"{destination}, {size}" for destination, size in columns)]
    lines = [_line(head), _line(["---"] * len(head))]
    for row, found in rows.items():
        hits = sum(cell.hits for cell in found.values())
        squares = [verdict(found[column]) if column in found else "–" for column in columns]  # noqa: RUF001
        name = row.name + (" (TLS)" if row.transport == "tls" and "TLS" not in row.name else "")
        lines.append(_line([LINK_NAMES[row.link], name, str(hits), *squares]))
    return "\n".join(lines)


def stories_table(stories: Sequence[Story]) -> str:
    lines = [_line(["fault", "struck", "stored", "refused", "lost"]), _line(["---"] * 5)]
    for story in stories:
        counts = [story.injected, story.stored, story.refused, len(story.losses)]
        lines.append(_line([story.name, *(str(count) for count in counts)]))
    return "\n".join(lines)


def events_table(stories: Sequence[Story]) -> str:
    head = ["fault", "struck", "messages delivered", "webhooks to be sent again", "delivered twice", "lost"]
    lines = [_line(head), _line(["---"] * 6)]
    for story in stories:
        counts = [story.injected, story.stored, story.refused, story.duplicates, len(story.losses)]
        found = ["not run: " + story.skipped, *[""] * 4] if story.skipped else [str(count) for count in counts]
        lines.append(_line([story.name, *found]))
    return "\n".join(lines)


def events_figures(stories: Sequence[Story], *, seconds: float) -> str:
    """What became of webhooks and events, as it goes into the page."""
    delivered, lost = sum(story.stored for story in stories), sum(len(story.losses) for story in stories)
    twice, struck = sum(story.duplicates for story in stories), sum(story.injected for story in stories)
    first = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{seconds / 60:.0f} minutes: {delivered} messages delivered, {struck} faults struck, {twice} delivered twice, "
        f"**{lost} scenarios with a loss**."
    )
    return f"{first}\n\n{events_table(stories)}"


def soak_table(soak: Soak) -> str:
    assert soak.before is not None
    assert soak.highest is not None
    assert soak.after is not None
    names = {
        "rss_mib": "resident memory, MiB",
        "descriptors": "file descriptors",
        "sockets": "sockets",
        "threads": "threads",
        "tasks": "asyncio tasks",
    }
    rows = [
        (text, *(f"{getattr(sample, name):.0f}" for sample in (soak.before, soak.highest, soak.after)))
        for name, text in names.items()
    ]
    lines = [_line(["held by the gateway", "idle, after a warm-up", "highest under load", "idle, at the end"])]
    lines += [_line(["---"] * 4), *(_line(row) for row in rows)]
    faults = ", ".join(f"{name} {count}" for name, count in sorted(soak.faults.items()))
    refused = ", ".join(f"{name} {count}" for name, count in sorted(soak.errors.items())) or "none"
    return (
        f"{soak.seconds:.0f} s, {CALLERS} callers, {SHARE:.0%} of the requests on each link hit: {soak.calls} calls, "
        f"{soak.bytes / MIB / 1024:.1f} GiB stored; refused: {refused}; lost: {len(soak.losses)}. "
        f"Faults that struck, warm-up included: {faults}.\n\n" + "\n".join(lines)
    )


def figures(cells: Sequence[Cell], stories: Sequence[Story], soak: Soak | None, *, seed: int, seconds: float) -> str:
    """Everything, as it goes into the page."""
    calls = sum(len(cell.runs) for cell in cells) + sum(story.stored + story.refused for story in stories)
    hits = sum(cell.hits for cell in cells) + sum(story.injected for story in stories)
    lost = sum(len(cell.losses) for cell in cells) + sum(len(story.losses) for story in stories)
    parts = [
        (
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, seed {seed}, Python {platform.python_version()}, "
            f"{os.cpu_count()} cores, {seconds / 60:.0f} minutes: {calls} calls, {hits} faults struck, "
            f"**{lost} objects lost, wrong or partial**."
        ),
        "### The network",
        matrix_table(cells),
        "### Processes and the machine",
        stories_table(stories),
    ]
    if soak is not None:
        parts += ["### Soak", soak_table(soak)]
    return "\n\n".join(parts)


def write_page(page: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Replace the figures of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"{page} has no place for the figures")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def _line(columns: Iterable[str]) -> str:
    return "| " + " | ".join(columns) + " |"

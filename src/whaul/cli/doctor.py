"""`whaul doctor`."""

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output
from whaul.cli.failures import CommandError
from whaul.cli.help import wrapped

if TYPE_CHECKING:
    from whaul.doctor import Finding

CHECK_WIDTH = 24
STYLES = {"ok": ("green",), "warning": ("yellow", "bold"), "failed": ("red", "bold"), "skipped": ("dim",)}
MIN_WIDTH = 60


def doctor(
    bucket: Annotated[str | None, typer.Option(help="Bucket to try a write in.")] = None,
    account: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Ask Meta about this account only: waba-…, its ARN, or Meta's id."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check what a call needs: settings, files, port, database, keys, tokens, clock, S3, and a write to a bucket.

    Nothing is changed but a small object in the bucket, which is removed again. The exit code is 1 if a check failed.

    Examples:
        whaul doctor --bucket inbox
        whaul doctor --account 400000000000001
        whaul doctor --json | jq '.checks[] | select(.outcome != "ok")'
    """
    from whaul.doctor import Outcome

    findings, is_complete = asyncio.run(_examine(bucket, account, show=not json))
    failed = sum(finding.outcome is Outcome.FAILED for finding in findings)
    if json:
        checks = [
            {"check": f.check, "outcome": f.outcome.value, "detail": f.detail, "advice": f.advice} for f in findings
        ]
        output.document({"ok": not failed, "checks": checks})
    if not is_complete:
        raise CommandError("the settings cannot be used; nothing else was checked")
    if failed:
        raise CommandError(f"{failed} of {len(findings)} checks failed")


async def _examine(bucket: str | None, account: str | None, *, show: bool) -> "tuple[list[Finding], bool]":
    """Return the findings, and whether all checks were made."""
    from datetime import UTC, datetime

    from whaul.cli.failures import setting_in
    from whaul.doctor import Choice, Doctor, Finding, Outcome
    from whaul.settings import Settings, SettingsError

    findings: list[Finding] = []
    try:
        settings = Settings.load()
    except SettingsError as error:
        for problem in error.problems:
            setting = setting_in(problem)
            advice = f"`whaul help {setting}` says what it means" if setting else ""
            findings.append(Finding("settings", Outcome.FAILED, problem, advice))
            _show(findings[-1], show=show)
        return findings, False
    async for finding in Doctor(settings, lambda: datetime.now(UTC), accounts=Choice(account)).findings(bucket):
        findings.append(finding)
        _show(finding, show=show)
    return findings, True


def _show(finding: "Finding", *, show: bool) -> None:
    """Print a finding: one line, or on a terminal as many as its width needs."""
    if not show:
        return
    outcome = output.styled(f"{finding.outcome.value:8}", *STYLES[finding.outcome.value])
    start = f"{outcome} {output.styled(f'{finding.check:{CHECK_WIDTH}}')} "
    if not sys.stdout.isatty():
        output.page(start + output.styled(finding.detail + (f" -> {finding.advice}" if finding.advice else "")))
        return
    indent = " " * (CHECK_WIDTH + 10)
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH) - len(indent) - 1
    lines = [output.styled(line) for line in wrapped(finding.detail, width)]
    lines += [output.styled(line, "bold") for line in wrapped(f"-> {finding.advice}", width) if finding.advice]
    output.page(start + f"\n{indent}".join(lines))

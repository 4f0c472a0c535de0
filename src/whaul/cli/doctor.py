"""`whaul doctor`."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from whaul.doctor import Finding


def doctor(
    bucket: Annotated[str | None, typer.Option(help="Bucket to try a write in.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check settings, database, secret key, each account's token, the clock, S3, and a write to a bucket."""
    from whaul.doctor import Outcome

    findings = asyncio.run(_examine(bucket, show=not json))
    failed = sum(finding.outcome is Outcome.FAILED for finding in findings)
    if json:
        checks = [
            {"check": f.check, "outcome": f.outcome.value, "detail": f.detail, "advice": f.advice} for f in findings
        ]
        output.document({"ok": not failed, "checks": checks})
    if failed:
        raise CommandError(f"{failed} of {len(findings)} checks failed")


async def _examine(bucket: str | None, *, show: bool) -> "list[Finding]":
    from whaul.doctor import Doctor, Finding, Outcome
    from whaul.settings import Settings, SettingsError

    findings: list[Finding] = []
    try:
        settings = Settings.load()
    except SettingsError as error:
        for problem in error.problems:
            findings.append(
                Finding("settings", Outcome.FAILED, problem, "fix it, and run this again: nothing else was checked")
            )
            _show(findings[-1], show=show)
        return findings
    async for finding in Doctor(settings, lambda: datetime.now(UTC)).findings(bucket):
        findings.append(finding)
        _show(finding, show=show)
    return findings


def _show(finding: "Finding", *, show: bool) -> None:
    if show:
        advice = f" -> {finding.advice}" if finding.advice else ""
        output.line(f"{finding.outcome.value:8} {finding.check}: {finding.detail}{advice}")

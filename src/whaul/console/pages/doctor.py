"""Doctor: what calls need, checked when somebody asks; and the settings of this process."""

import shlex
from itertools import groupby
from typing import Final

from starlette.responses import Response

from whaul.console.page import Page
from whaul.console.rendering import counted
from whaul.console.visit import PageError, Visit
from whaul.doctor import Outcome
from whaul.effective_settings import AWS, DEFAULT, effective_settings
from whaul.operations.actions import MANAGE_ARCHIVES, VIEW_SERVER
from whaul.setting_types import shown
from whaul.settings import SettingsError

WRITE: Final = MANAGE_ARCHIVES
"""Whoever may say where files go may also try a write there."""
MAX_BUCKET: Final = 63
"""Characters. https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""
MOODS: Final = {Outcome.OK: "good", Outcome.WARNING: "wait", Outcome.FAILED: "bad", Outcome.SKIPPED: "plain"}


async def show(visit: Visit) -> Response:
    """Show what the latest checks found, and the settings."""
    visit.require(VIEW_SERVER)
    console, only_changed = visit.console, "changed" in visit.request.query_params
    checkup = console.checkups.latest
    rows, problem = [], None
    try:
        rows = effective_settings(console.settings)
    except SettingsError as error:
        problem = "; ".join(error.problems)
    rows = [row for row in rows if not only_changed or row.source != DEFAULT]
    return await visit.page(
        "doctor.html",
        checkup=checkup,
        failed=0 if checkup is None else checkup.count(Outcome.FAILED),
        warnings=0 if checkup is None else checkup.count(Outcome.WARNING),
        moods=MOODS,
        limit=console.checkups.limit,
        may_write=visit.may(WRITE),
        command="whaul doctor" + (f" --bucket {shlex.quote(checkup.bucket)}" if checkup and checkup.bucket else ""),
        groups=[(group, list(of_group)) for group, of_group in groupby(rows, lambda row: row.group)],
        problem=problem,
        servers=await console.servers.look(),
        ours=console.build,
        only_changed=only_changed,
        default=DEFAULT,
        of_aws=AWS,
        shown=shown,
    )


async def check(visit: Visit) -> Response:
    """Make the checks."""
    visit.require(VIEW_SERVER)
    visit.console.operations.take(visit.caller)
    bucket = str((await visit.form()).get("bucket", "")).strip()
    if len(bucket) > MAX_BUCKET:
        raise PageError(f"The name of a bucket has at most {MAX_BUCKET} characters.", 400)
    if bucket:
        visit.require(WRITE)
        visit.details["bucket"] = bucket
    checkups = visit.console.checkups
    if not await checkups.run(visit.console.settings, bucket or None) or checkups.latest is None:
        raise PageError("The checks are running already. Open the page again in a minute.", 409)
    return visit.back("/doctor", f"{counted(len(checkups.latest.findings), 'check')} made.")


PAGES: Final = (
    Page(path="/doctor", action=VIEW_SERVER, answer=show, title="Doctor"),
    Page(path="/doctor", action=VIEW_SERVER, answer=check, posts=True),
)

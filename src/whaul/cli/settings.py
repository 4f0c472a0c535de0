"""`whaul settings`: what is set, to what, and by what."""

from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output

if TYPE_CHECKING:
    from whaul.effective_settings import Row


def settings(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the default.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every setting with its value, and where the value comes from. Secrets are masked.

    The settings are those of this shell: give it the environment of the server.

    Examples:
        whaul settings --changed
        whaul help WHAUL_PORT    # what a setting means
    """
    from whaul.effective_settings import DEFAULT, effective_settings
    from whaul.settings import Settings

    rows = effective_settings(Settings.load())
    if changed:
        rows = [row for row in rows if row.source != DEFAULT]
    if json:
        shown = [{"group": row.group, "name": row.name, "value": row.value, "source": row.source} for row in rows]
        output.document({"settings": shown})
    else:
        _print(rows)


def _print(rows: "list[Row]") -> None:
    from whaul.effective_settings import DEFAULT
    from whaul.setting_types import shown

    names = max((len(row.name) for row in rows), default=0)
    sources = max((len(row.source) for row in rows), default=0)
    group = ""
    for row in rows:
        if row.group != group:
            output.page(("\n" if group else "") + output.styled(row.group, "bold"))
            group = row.group
        value = "unset" if row.value is None else shown(row.value) or "empty"
        style = ("dim",) if row.source == DEFAULT else ("bold",)
        output.page(f"  {row.name:{names}}  {output.styled(f'{row.source:{sources}}', *style)}  {output.styled(value)}")
    if not rows:
        output.line("Everything has its default. `whaul settings` without --changed shows them.")

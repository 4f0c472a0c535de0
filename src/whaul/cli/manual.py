"""`whaul help`: about commands, settings, and where the documentation is."""

from typing import Annotated

import typer

from whaul.cli import COMMANDS, output
from whaul.cli.failures import CommandError
from whaul.cli.help import page_width, wrapped
from whaul.terminal import suggestion

DOCS = "docs"


def manual(
    topic: Annotated[
        list[str],
        typer.Argument(metavar="TOPIC", help="A command, a setting, or `docs` for the documentation's folder."),
    ],
) -> None:
    """Show how a command is used, or what a setting means.

    Examples:
        whaul help keys create
        whaul help WHAUL_PORT
        whaul help docs
    """
    if topic == [DOCS]:
        from whaul.documentation import folder

        output.line(str(folder()))
    elif topic[0].upper() == topic[0]:
        _setting(topic[0])
    else:  # `whaul help COMMAND` is `whaul COMMAND --help`
        raise CommandError(f"there is no command {topic[0]}{suggestion(topic[0], [*COMMANDS, DOCS])}")


def _setting(variable: str) -> None:
    from whaul.cli.reference import facts
    from whaul.environment import environment_name
    from whaul.settings import Settings

    fields = {environment_name(name): (name, field) for name, field in Settings.model_fields.items()}
    if variable not in fields:
        raise CommandError(f"there is no setting {variable}{suggestion(variable, fields)}")
    name, field = fields[variable]
    output.page(output.styled(variable, "bold"))
    for part in [field.description or "", "", *facts(name, variable, field)]:
        for line in wrapped(part.replace("`", ""), page_width()) or [""]:
            output.line(line)
    output.line("")
    output.line("`whaul settings` shows what it is now.")

"""`whaul help`: about commands, settings, and where the documentation is."""

from typing import Annotated

import typer

from whaul.cli import COMMANDS, output
from whaul.cli.failures import CommandError
from whaul.cli.help import page_width, wrapped
from whaul.terminal import suggestion

DOCS = "docs"


def _topics(incomplete: str) -> list[str]:
    return [name for name in (*COMMANDS, DOCS) if name.startswith(incomplete)]


def manual(
    topic: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPIC",
            help="A command, a setting, or `docs` for the documentation's folder.",
            autocompletion=_topics,
        ),
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
    elif "_" in topic[0] or topic[0].isupper():
        _setting(topic[0])
    else:  # `whaul help COMMAND` is `whaul COMMAND --help`
        raise CommandError(f"there is no command {topic[0]}{suggestion(topic[0], [*COMMANDS, DOCS])}")


def _setting(variable: str) -> None:
    from whaul.cli.reference import facts
    from whaul.environment import environment_name, variables
    from whaul.settings import Settings

    fields = {each: name for name, field in Settings.model_fields.items() for each in variables(name, field)}
    if variable not in fields:
        raise CommandError(f"there is no setting {variable}{suggestion(variable.upper(), fields)}")
    name = fields[variable]
    field, variable = Settings.model_fields[name], environment_name(name)
    output.page(output.styled(variable, "bold"))
    for part in [field.description or "", "", *facts(name, variable, field)]:
        for line in wrapped(part.replace("`", ""), page_width()) or [""]:
            output.line(line)
    output.line("")
    output.line("`whaul settings` shows what it is now.")

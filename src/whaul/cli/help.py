"""Help, and what is said about wrong usage: for the terminal, and for docs/cli.md.

Typer's own help loads Rich, which takes as long as all the rest. Everything here comes from the commands: their
docstrings, which may end with a paragraph of examples, and their parameters.
"""

import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from whaul.terminal import suggestion, takes_colour

MAX_WIDTH = 100
MAX_NAMES = 30
"""Columns for names; the text about a longer one begins below it."""
EXAMPLES = "Examples:"
PARAMETERS = {"Arguments", "Options"}

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class About:
    """What a docstring says."""

    summary: str
    """Its first paragraph."""
    details: tuple[str, ...]
    """Further paragraphs."""
    examples: tuple[str, ...]
    """Lines for a shell."""

    @classmethod
    def read(cls, docstring: str | None) -> Self:
        """Take a docstring apart."""
        text, _, examples = inspect.cleandoc(docstring or "").partition(EXAMPLES)
        summary, *details = [" ".join(part.split()) for part in text.strip().split("\n\n")]
        return cls(summary, tuple(details), tuple(textwrap.dedent(examples.strip("\n")).splitlines()))

    @property
    def sentence(self) -> str:
        """The first sentence, for lists."""
        return self.summary.partition(". ")[0].rstrip(".") + "."


def refusal(error: Any) -> list[str]:
    """What is wrong with how a command was called, and where to read about it."""
    param = getattr(error, "param", None)
    name = getattr(error, "param_hint", None) or (param and _typed_name(param))
    if hasattr(error, "possibilities"):
        message = f"there is no option {error.option_name}{suggestion(error.option_name, error.possibilities or ())}"
    elif name and hasattr(error, "param_type"):
        message = f"{name} is missing"
    elif hasattr(error, "option_name"):
        message = f"{error.option_name} {error.message.partition(error.option_name)[2].strip(chr(39)).strip()}"
    elif hasattr(error, "param_hint"):
        text = error.message.removeprefix("Value error, ").replace("Input should", "should")
        text = text.partition(", unable to parse")[0]
        message = f"{name}: {text}" if name else text
    else:
        message = error.format_message()
        message = message[:1].lower() + message[1:]
    path = error.ctx.command_path if error.ctx else "whaul"
    return [f"whaul: {message.rstrip('.')}", f"`{path} --help` shows how to use it."]


def _typed_name(param: Any) -> str:
    return str(max(param.opts, key=len) if param.param_type_name == "option" else param.metavar or param.name.upper())


# Parameters


def shown_option(param: Any) -> str:
    """An option as it is typed: `-y, --yes`, `--port PORT`."""
    value = "" if param.is_flag else " " + (param.metavar or param.name.rpartition("_")[2].upper())
    names = sorted(param.opts, key=len) + param.secondary_opts
    return ", ".join(names) + value


def shown_default(param: Any) -> str:
    """What an option is if it is not given; empty if there is nothing to say."""
    if isinstance(param.show_default, str):
        return param.show_default
    if param.is_flag:
        return str(param.opts[0]) if param.secondary_opts and param.default else ""
    return str(param.default) if isinstance(param.default, str | int | float) else ""


def shown_argument(param: Any) -> str:
    """An argument as it stands in the usage line."""
    name = param.metavar or param.name.upper()
    return (name if param.required else f"[{name}]") + ("..." if param.nargs != 1 else "")


def arguments_of(command: Any) -> list[Any]:
    """The arguments that are shown."""
    return [param for param in command.params if param.param_type_name == "argument" and not param.hidden]


def options_of(command: Any) -> list[Any]:
    """The options that are shown, without `--help`, which all have."""
    return [param for param in command.params if param.param_type_name == "option" and not param.hidden]


def usage(path: str, command: Any) -> str:
    """How a command is called."""
    words = [path, *(shown_option(param) for param in options_of(command) if param.required)]
    words += ["[OPTIONS]"] if any(not param.required for param in options_of(command)) else []
    words += [shown_argument(param) for param in arguments_of(command)]
    return " ".join([*words, *(["COMMAND"] if hasattr(command, "list_commands") else [])])


def _option_rows(command: Any, path: str) -> Iterator[tuple[str, str]]:
    for param in options_of(command):
        default = shown_default(param)
        facts = ["required"] if param.required else [f"default: {default}"] if default else []
        yield shown_option(param), _sentence(param.help) + "".join(f" [{fact}]" for fact in facts)
    yield "-h, --help", f"Show this help; `whaul help{path.removeprefix('whaul')}` does, too."


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


# Pages


def command_page(path: str, command: Any) -> str:
    """The help of one command."""
    about = About.read(command.help)
    sections = [("Arguments", [(shown_argument(param), _sentence(param.help)) for param in arguments_of(command)])]
    return _page(about, usage(path, command), [*sections, ("Options", list(_option_rows(command, path)))])


def group_page(path: str, command: Any, groups: Sequence[tuple[str, Rows]], after: str) -> str:
    """The help of a group of commands."""
    about = About.read(command.help)
    return _page(about, usage(path, command), [*groups, ("Options", list(_option_rows(command, path)))], after)


def _page(about: About, called: str, sections: Sequence[tuple[str, Rows]], after: str = "") -> str:
    width = page_width()
    bold = ("\x1b[1m", "\x1b[0m") if takes_colour(sys.stdout) else ("", "")
    parts = ["\n".join(wrapped(about.summary, width)), f"{bold[0]}Usage:{bold[1]} {called}"]
    parts += ["\n".join(wrapped(paragraph, width)) for paragraph in about.details]
    for title, rows in sections:
        if rows:
            # The same column for all sections of a kind, so that the eye goes down one line.
            alike = [each for other, each in sections if (other in PARAMETERS) == (title in PARAMETERS)]
            names = [len(name) for each in alike for name, _ in each]
            column = max(length for length in [8, *names] if length <= MAX_NAMES)
            lines = [line for name, text in rows for line in _row(name, text, column, width)]
            parts.append("\n".join([f"{bold[0]}{title}:{bold[1]}", *lines]))
    if about.examples:
        parts.append("\n".join([f"{bold[0]}{EXAMPLES}{bold[1]}", *(f"  {line}".rstrip() for line in about.examples)]))
    return "\n\n".join([*parts, *(["\n".join(wrapped(after, width))] if after else [])])


def _row(name: str, text: str, column: int, width: int) -> Iterator[str]:
    lines = wrapped(text, max(width - column - 4, 30)) or [""]
    if len(name) > column:
        yield f"  {name}"
        name = ""
    for line in lines:
        yield f"  {name:{column}}  {line}".rstrip()
        name = ""


def page_width() -> int:
    """The columns of the terminal, as far as lines can still be read."""
    return max(min(shutil.get_terminal_size().columns, MAX_WIDTH), 40)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, and never an end of line inside a word."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)

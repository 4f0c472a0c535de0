"""Every setting: its environment name, default, meaning and check; a module for each group of `docs/settings.md`.

Settings come from the environment, secrets also from a file named by `<NAME>_FILE` or a credential of systemd's. All
of them are checked together at start, so that one message names every bad variable. S3 credentials, endpoint and
profiles are not here: they are found as any AWS tool finds them.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import ConfigDict, ValidationError

from whaul.environment import problem, secret_files, unknown_names, values_given
from whaul.settings.console import Console
from whaul.settings.events import Events
from whaul.settings.group import SettingGroup
from whaul.settings.limits import Limits
from whaul.settings.listener import Listener
from whaul.settings.logs import Logs
from whaul.settings.meta import Meta
from whaul.settings.registry import Registry
from whaul.settings.stored_objects import StoredObjects
from whaul.terminal import visible

GROUPS: Final[Mapping[str, type[SettingGroup]]] = {
    "Listener": Listener,
    "Registry": Registry,
    "Stored objects": StoredObjects,
    "Webhooks and events": Events,
    "Console": Console,
    "Meta": Meta,
    "Limits": Limits,
    "Logs": Logs,
}
"""In the order in which they are shown."""


class SettingsError(Exception):
    """One or more settings cannot be used; the message names every one of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        noun = "setting" if len(problems) == 1 else "settings"
        lines = "\n".join(f"  {visible(problem)}" for problem in problems)
        super().__init__(f"{len(problems)} {noun} cannot be used:\n{lines}")


# From the last group to the first: Pydantic checks the fields of the last base first.
class Settings(Logs, Limits, Meta, Console, Events, StoredObjects, Registry, Listener):
    """The settings of one process; see each field's description."""

    model_config = ConfigDict(
        str_strip_whitespace=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        defer_build=False,
    )

    def __init__(self, **given: Any) -> None:
        """Check `given`, and what the environment gives of the others."""
        super().__init__(**values_given(type(self).model_fields, os.environ) | given)

    @property
    def archive_slots(self) -> int:
        """How many files are archived at once."""
        return self.archive_concurrency or max(1, self.max_transfers // 3)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read and check everything; `overrides` (command line options) win where they are not None.

        Raises `SettingsError` that names everything that cannot be used as it was given, and what was expected.
        """
        secrets, problems = secret_files(cls.model_fields)
        problems = unknown_names(cls.model_fields) + problems
        given = {name: value for name, value in overrides.items() if value is not None}
        options = frozenset(given)
        try:
            settings = cls(**secrets | given)
        except ValidationError as error:
            raise SettingsError(
                problems + [problem(cls.model_fields, detail, options) for detail in error.errors()]
            ) from None
        if problems:
            raise SettingsError(problems)
        return settings

"""What a group of settings is: fields with their checks, which `Settings` puts together."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationInfo

from whaul.environment import environment_name


class SettingGroup(BaseModel):
    """Settings about one subject, in the order in which they are shown; a check sees those before its own."""

    model_config = ConfigDict(defer_build=True)  # only `Settings` is ever built


def together_with(other: str) -> Callable[[object, ValidationInfo], object]:
    """Check that a setting is set if another one is, which stands before it, and unset if not."""

    def both_or_neither(value: object, info: ValidationInfo) -> object:
        if other in info.data and (not value) != (info.data[other] is None):
            raise ValueError(f"set it together with {environment_name(other)}, or neither")
        return value

    return both_or_neither

"""Policies for the usual kinds of access keys: to begin with, and to be narrowed."""

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from whaul.arns import Arns
from whaul.auth.policy import ALLOW_ALL
from whaul.operations.actions import GET_OBJECT, PUT_OBJECT, action_of, object_arn

_VIEW: Final = tuple(f"whaul:View{what}" for what in ("Messages", "Deliveries", "Archives", "Accounts", "Server"))
_OPERATE: Final = (
    "whaul:ViewContent",
    "whaul:FetchAgain",
    "whaul:ReplayDelivery",
    "whaul:ManageDestinations",
    "whaul:ManageArchives",
)
_TALK: Final = tuple(map(action_of, ("SendWhatsAppMessage", "GetWhatsAppMessageMedia", "PostWhatsAppMessageMedia")))
PLACEHOLDER: Final = "BUCKET"
"""What stands for the name of a bucket, which has no capitals."""


class Role(NamedTuple):
    """A kind of access key."""

    purpose: str
    policy: Callable[[Arns], str]
    """Writes its policy document."""
    is_whole: bool = True
    """Whether nothing in it has to be replaced."""


def _document(*statements: tuple[str, tuple[str, ...], str]) -> str:
    allowed = [
        {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
        for sid, actions, resource in statements
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": allowed}, indent=2)


ROLES: Final[Mapping[str, Role]] = {
    "viewer": Role(
        "sees in the console what came and what became of it, but nothing that people wrote",
        lambda _: _document(("See", _VIEW, "*")),
    ),
    "operator": Role(
        "also sees content, replays, fetches again, and steers destinations and archives",
        lambda _: _document(("See", _VIEW, "*"), ("Operate", _OPERATE, "*")),
    ),
    "application": Role(
        f"sends messages, and fetches and sends files; name its bucket in place of {PLACEHOLDER}",
        lambda arns: _document(
            ("Talk", _TALK, "*"), ("Files", (PUT_OBJECT, GET_OBJECT), object_arn(arns, PLACEHOLDER, "*"))
        ),
        is_whole=False,
    ),
    "admin": Role("may do everything, also make keys", lambda _: ALLOW_ALL),
}
"""By name."""

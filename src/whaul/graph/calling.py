"""How a phone number takes calls, at Meta.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/call-settings
"""

from typing import Any, Final

import msgspec

from whaul.errors import DependencyException, Retry
from whaul.graph.calls import GraphCalls, decoded
from whaul.graph.errors import CallKind
from whaul.model import CallHours, CallSettings, GraphToken

CHANGING: Final = CallKind(names_object=False)
"""Repeatable: what is set twice is set."""


class _Changed(msgspec.Struct):
    success: bool


class CallingCalls(GraphCalls):
    """The calls about calling."""

    async def change_calling(self, token: GraphToken, meta_id: str, settings: CallSettings) -> None:
        """Change the call settings of a phone number; those that are None stay as they are."""
        doing = "changing the call settings"
        body = msgspec.json.encode({"calling": _calling(settings)})
        url = self._url(token, f"{meta_id}/settings")
        answer = await self._call("POST", url, token, doing, body=body, kind=CHANGING)
        if not decoded(answer, _Changed, doing).success:
            raise DependencyException("Meta did not change the call settings, and gave no reason.", retry=Retry.NO)


def _calling(settings: CallSettings) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "call_icon_visibility": settings.icon_visibility,
        "callback_permission_status": settings.callback_permission_status,
        "call_hours": _call_hours(settings.hours) if settings.hours else None,
    }
    return {"status": _switch(settings.enabled)} | {k: v for k, v in chosen.items() if v is not None}


def _call_hours(hours: CallHours) -> dict[str, Any]:
    return {
        "status": _switch(hours.enabled),
        "timezone_id": hours.timezone,
        "weekly_operating_hours": [
            {"day_of_week": opening.day, "open_time": f"{opening.start:%H%M}", "close_time": f"{opening.end:%H%M}"}
            for opening in hours.weekly
        ],
        "holiday_schedule": [
            {"date": opening.day, "start_time": f"{opening.start:%H%M}", "end_time": f"{opening.end:%H%M}"}
            for opening in hours.holidays
        ],
    }


def _switch(on: bool) -> str:
    return "ENABLED" if on else "DISABLED"

"""A call of the Graph API on an object that there is, and what most of its answers need: a body, `fields`, pages."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from whaul.simulator.responses import invalid
from whaul.simulator.state import State
from whaul.simulator.webhooks.sender import Webhooks

DEFAULT_PAGE = 25


@dataclass(frozen=True, slots=True)
class Call:
    """One call: of what, and with what."""

    state: State
    request: web.Request
    webhooks: Webhooks
    afterwards: list[Callable[[], object]]
    """What happens once the response has been sent."""
    object: Any
    """What the id in the path stands for."""

    async def body(self) -> dict[str, Any]:
        """The members of the JSON body; raises `RefusedError`."""
        try:
            body = json.loads(await self.request.read())
        except (ValueError, RecursionError) as exc:
            raise invalid("The body is not JSON.") from exc
        if not isinstance(body, dict):
            raise invalid("The body is not a JSON object.")
        return body

    async def parameters(self) -> dict[str, Any]:
        """What came in the query, in a form, or as JSON members, as Graph takes them all; raises `RefusedError`."""
        members: dict[str, Any] = dict(self.request.query)
        if self.request.content_type in {"application/x-www-form-urlencoded", "multipart/form-data"}:
            return members | dict(await self.request.post())
        return members | (await self.body() if await self.request.read() else {})

    def select(self, members: Mapping[str, Any], defaults: Sequence[str], fields: str | None = None) -> dict[str, Any]:
        """The members that `fields` names, and the id; without `fields` the default ones. None does not show."""
        fields = self.request.query.get("fields") if fields is None else fields
        names = [name.strip() for name in fields.split(",") if name.strip()] + ["id"] if fields else [*defaults]
        unknown = [name for name in names if name not in members]
        if unknown:
            raise invalid(f"There is no field ({unknown[0]}) on this object.")
        return {name: members[name] for name in names if members[name] is not None}

    def page(self, objects: Sequence[Any], show: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The page of objects that `limit`, `after` and `before` ask for, each as `show` shows it."""
        query = self.request.query
        limit = query.get("limit", str(DEFAULT_PAGE))
        if not re.fullmatch(r"[1-9]\d{0,5}", limit):
            raise invalid("Param limit must be a number of 1 or more.")
        after, before = query.get("after"), query.get("before")
        start = _place(objects, after) + 1 if after else 0
        if before and not after:
            start = max(0, _place(objects, before) - int(limit))
        shown = objects[start : start + int(limit)]
        if not shown:
            return {"data": []}
        cursors = {"before": _cursor(shown[0]), "after": _cursor(shown[-1])}
        paging: dict[str, Any] = {"cursors": cursors}
        here = self.request.url.with_query({name: query[name] for name in ("fields", "limit") if name in query})
        if shown[-1] is not objects[-1]:
            paging["next"] = str(here.update_query(after=cursors["after"]))
        if start:
            paging["previous"] = str(here.update_query(before=cursors["before"]))
        return {"data": [show(one) for one in shown], "paging": paging}


def _cursor(one: Any) -> str:
    return base64.urlsafe_b64encode(f"at:{one.id}".encode()).decode().rstrip("=")


def _place(objects: Sequence[Any], cursor: str) -> int:
    try:
        named = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return [f"at:{one.id}" for one in objects].index(named)
    except (ValueError, binascii.Error) as exc:
        raise invalid("The cursor of this page is not valid.") from exc

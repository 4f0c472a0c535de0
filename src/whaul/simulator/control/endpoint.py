"""The control endpoint over HTTP: the simulator's world for tests in any language, as JSON below `/_simulator`.

Each row of `rows.table` is one request. No token is asked for: everything in the simulator is made up, and it listens
on the loopback interface by default.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from whaul.documentation import HERE
from whaul.simulator.content import BLOCK
from whaul.simulator.control.row import Members, Row
from whaul.simulator.control.rows import PREFIX, table
from whaul.simulator.values import BadValueError, MissingError
from whaul.simulator.world import World

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(world: World) -> list[web.RouteDef]:
    """What the control endpoint answers."""
    return [
        *(web.route(row.method, PREFIX + row.path, _refusing(_answer(world, row))) for row in table(world)),
        web.route("*", PREFIX + "{_:.*}", _refusing(_unknown)),
    ]


def _answer(world: World, row: Row) -> Answer:
    return _storing(world, row) if row.takes_file else _reading(row)


def _storing(world: World, row: Row) -> Answer:
    """Run a row with the raw body as a file; its other members are in the query."""

    async def answer(request: web.Request) -> web.StreamResponse:
        path = world.state.store.new_file()
        try:
            with path.open("wb") as file:
                async for block in request.content.iter_chunked(BLOCK):
                    file.write(block)
            mime_type = request.headers.get("Content-Type", "application/octet-stream")
            return await _run(row, {**request.query, "path": str(path), "mime_type": mime_type})
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    return answer


def _reading(row: Row) -> Answer:
    """Run a row with the members of a request."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        if row.takes_body:
            return await _run(row, {row.takes_body: body})
        if not isinstance(body, dict):
            raise BadValueError("The body is not a JSON object.")
        if fixed := sorted(body.keys() & request.match_info.keys()):
            raise BadValueError(f"`{fixed[0]}` is in the path and cannot be changed.")
        return await _run(row, {**request.match_info, **request.query, **body})

    return answer


async def _run(row: Row, members: Members) -> web.Response:
    return _json(await row.run(members), row.status)


def _refusing(answer: Answer) -> Answer:
    """Turn what is refused into a JSON response that says what would be right."""

    async def answer_or_refuse(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except MissingError as exc:
            return _json({"error": str(exc)}, 404)
        except BadValueError as exc:
            return _json({"error": str(exc)} | ({} if exc.allowed is None else {"allowed": exc.allowed}), 400)

    return answer_or_refuse


async def _unknown(request: web.Request) -> web.StreamResponse:
    raise MissingError(f"The control endpoint has no {request.method} {request.path}. See simulator.md; {HERE} it is.")


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    try:
        return json.loads(raw) if raw else {}
    except (ValueError, RecursionError) as exc:
        raise BadValueError("The body is not JSON.") from exc


def _json(value: Any, status: int) -> web.Response:
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can only escape
        body = json.dumps(msgspec.to_builtins(value)).encode()
    return web.Response(body=body, status=status, content_type="application/json")

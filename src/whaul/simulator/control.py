"""The control endpoint: JSON under `/_simulator/` that changes the simulated world and tells what happened in it.

It asks for no token. Everything in the simulator is made up, and it listens on the loopback interface by default.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import msgspec
from aiohttp import web

from whaul.simulator.content import BLOCK, Generated, OnDisk
from whaul.simulator.faults import KINDS, BadFaultError, parameters, parse
from whaul.simulator.messages import CUSTOMER, STATUSES, Mailbox
from whaul.simulator.state import WABA_ID, BadValueError, Media, MediaOptions, Settings, State, checked

PREFIX = "/_simulator"
LARGEST_GENERATED = 16 * 1024**3
OPTION_NAMES = frozenset({"file_size", "sha256", "content_type"})

Handler = Callable[[web.Request], Awaitable[Any]]


class BadRequestError(Exception):
    """A control request that cannot be carried out; the text says why, `allowed` what would do."""

    def __init__(self, message: str, *, status: int = 400, allowed: object = None) -> None:
        super().__init__(message)
        self.status = status
        self.allowed = allowed


class Control:
    """The routes under `/_simulator/`."""

    def __init__(self, state: State, mailbox: Mailbox) -> None:
        self._state = state
        self._mailbox = mailbox

    def routes(self) -> list[web.RouteDef]:
        """What the control endpoint answers."""
        table = [
            ("GET", "/state", self.show_state),
            ("POST", "/media", self.add_media),
            ("POST", "/media/generate", self.generate_media),
            ("PATCH", "/media/{id}", self.change_media),
            ("DELETE", "/media/{id}", self.remove_media),
            ("POST", "/media/{id}/expire", self.expire_urls),
            ("POST", "/phone-numbers", self.add_phone_number),
            ("PATCH", "/phone-numbers/{id}", self.change_phone_number),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_faults),
            ("DELETE", "/faults", self.clear_faults),
            ("GET", "/faults/kinds", self.list_kinds),
            ("GET", "/requests", self.list_requests),
            ("DELETE", "/requests", self.clear_requests),
            ("GET", "/messages", self.list_messages),
            ("DELETE", "/messages", self.clear_messages),
            ("POST", "/messages/inbound", self.receive_message),
            ("POST", "/messages/status", self.change_status),
            ("GET", "/settings", self.show_settings),
            ("PATCH", "/settings", self.change_settings),
            ("POST", "/clock", self.advance_clock),
            ("POST", "/reset", self.reset),
        ]
        routes = [web.route(method, PREFIX + path, _as_json(handler)) for method, path, handler in table]
        return [*routes, web.route("*", PREFIX + "{_:.*}", _as_json(self.unknown))]

    async def show_state(self, _: web.Request) -> Any:
        """Everything that can be seen of the simulated world, with the media folder read again."""
        self._state.scan()
        return {
            "now": self._state.now(),
            "waba_id": WABA_ID,
            "phone_numbers": [
                {
                    "id": n.id,
                    "display_phone_number": n.display_phone_number,
                    "verified_name": n.verified_name,
                    "calling": n.calling,
                }
                for n in self._state.phone_numbers.values()
            ],
            "media": [self._describe(media) for media in self._state.media.values()],
            "settings": msgspec.to_builtins(self._state.settings),
            "faults": self._state.faults.describe(),
        }

    async def add_media(self, request: web.Request) -> Any:
        """Store the raw body; the query may hold `id`, `phone_number_id`, `origin` and the media's options."""
        query = dict(request.query)
        path = self._state.spool()
        try:
            with path.open("wb") as file:
                async for block in request.content.iter_chunked(BLOCK):
                    file.write(block)
            mime_type = request.headers.get("Content-Type", "application/octet-stream")
            return self._describe(self._add(OnDisk(path), mime_type, query)), 201
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def generate_media(self, request: web.Request) -> Any:
        """Add a media of `size` bytes made from `seed`; other members as in the query of `add_media`."""
        body = await _object(request)
        size, seed = body.pop("size", None), body.pop("seed", 0)
        if not _is_number(size) or not 0 <= size <= LARGEST_GENERATED:
            raise BadRequestError("`size` is a number of bytes.", allowed=f"0 to {LARGEST_GENERATED}")
        if not _is_number(seed):
            raise BadRequestError("`seed` is a whole number.")
        mime_type = body.pop("mime_type", "application/octet-stream")
        return self._describe(self._add(Generated(size, seed), mime_type, body)), 201

    def _add(self, content: OnDisk | Generated, mime_type: Any, members: dict[str, Any]) -> Media:
        known = {"id", "phone_number_id", "origin"} | OPTION_NAMES
        if unknown := sorted(members.keys() - known):
            raise BadRequestError(f"There is no parameter `{unknown[0]}`.", allowed=sorted(known))
        options = checked({k: v for k, v in members.items() if k in OPTION_NAMES}, MediaOptions)
        origin = members.get("origin", "inbound")
        texts = (mime_type, members.get("id", ""), members.get("phone_number_id", ""))
        if origin not in {"inbound", "upload"} or not all(isinstance(value, str) for value in texts):
            raise BadRequestError(
                "`mime_type`, `id` and `phone_number_id` are strings, `origin` is `inbound` or `upload`."
            )
        try:
            return self._state.add(
                content,
                mime_type,
                media_id=members.get("id"),
                phone_number_id=members.get("phone_number_id"),
                origin=origin,
                options=options,
            )
        except ValueError as exc:
            raise BadRequestError(str(exc)) from exc

    async def change_media(self, request: web.Request) -> Any:
        """Change how one media is shown: `file_size`, `sha256`, `content_type`; null goes back to the settings."""
        media = self._media(request)
        media.options = checked({**msgspec.to_builtins(media.options), **await _object(request)}, MediaOptions)
        return self._describe(media)

    async def remove_media(self, request: web.Request) -> Any:
        """Delete a media, as if Meta had forgotten it."""
        self._state.remove(self._media(request).id)
        return {"removed": request.match_info["id"]}

    async def expire_urls(self, request: web.Request) -> Any:
        """Make the download URLs given out so far invalid; the id stays."""
        media = self._media(request)
        media.url_generation += 1
        return self._describe(media)

    async def add_phone_number(self, request: web.Request) -> Any:
        """Add a number to the account: `display_phone_number`, `verified_name`."""
        body = await _object(request)
        names = ("display_phone_number", "verified_name")
        if body.keys() - set(names) or not all(isinstance(body.get(name), str) for name in names):
            raise BadRequestError("A phone number has two strings.", allowed=names)
        number = self._state.add_phone_number(body["display_phone_number"], body["verified_name"])
        return {"id": number.id, **body}, 201

    async def change_phone_number(self, request: web.Request) -> Any:
        """Change what Meta says of a number: `display_phone_number`, `verified_name`, `quality_rating`, `status`."""
        number_id, body = request.match_info["id"], await _object(request)
        names = ("display_phone_number", "verified_name", "quality_rating", "status")
        if number_id not in self._state.phone_numbers:
            raise BadRequestError(f"There is no phone number {number_id}.", status=404)
        if body.keys() - set(names) or not all(isinstance(value, str) for value in body.values()):
            raise BadRequestError("What a phone number has are strings.", allowed=names)
        return asdict(self._state.change_phone_number(number_id, body))

    async def list_faults(self, _: web.Request) -> Any:
        """The armed faults, in the order of their turns."""
        return {"faults": self._state.faults.describe()}

    async def list_kinds(self, _: web.Request) -> Any:
        """Every kind of fault with its parameters, as JSON schemas."""
        return {name: {"does": kind.__doc__, "parameters": parameters(kind)} for name, kind in sorted(KINDS.items())}

    async def add_faults(self, request: web.Request) -> Any:
        """Queue one fault, or a list of them; none is taken if one is bad."""
        body = await _json(request)
        for fault in [parse(raw) for raw in (body if isinstance(body, list) else [body])]:
            self._state.faults.add(fault)
        return {"faults": self._state.faults.describe()}, 201

    async def clear_faults(self, request: web.Request) -> Any:
        """Forget all faults, or those of `?media_id=`."""
        self._state.faults.clear(request.query.get("media_id"))
        return {"faults": self._state.faults.describe()}

    async def list_requests(self, request: web.Request) -> Any:
        """What was asked, oldest first, and how often; `?media_id=` for one object."""
        journal, wanted = self._state.journal, request.query.get("media_id")
        return {
            "requests": [e.describe() for e in list(journal.exchanges) if wanted in {None, e.object_id}],
            "counts": {name: journal.count(name) for name in journal.counters if wanted in {None, name}},
        }

    async def clear_requests(self, _: web.Request) -> Any:
        """Forget the requests and the counters."""
        self._state.journal.clear()
        return {"requests": []}

    async def list_messages(self, _: web.Request) -> Any:
        """What was sent, or marked as read, oldest first."""
        return {"messages": [message.describe() for message in self._mailbox.sent]}

    async def clear_messages(self, _: web.Request) -> Any:
        """Forget the messages."""
        self._mailbox.clear()
        return {"messages": []}

    async def receive_message(self, request: web.Request) -> Any:
        """Let a customer write; the answer is Meta's webhook of it. All members are strings, none is required."""
        members = {"media_id": "", "text": "", "from": CUSTOMER, "phone_number_id": "", "file_name": ""}
        body = await _object(request)
        if body.keys() - members.keys() or not all(isinstance(value, str) for value in body.values()):
            raise BadRequestError("A message of a customer has strings only.", allowed=sorted(members))
        members |= body
        media = self._state.find(members["media_id"]) if members["media_id"] else None
        if members["media_id"] and media is None:
            raise BadRequestError(f"There is no media {members['media_id']}.", status=404)
        default = media.phone_number_id if media else next(iter(self._state.phone_numbers))
        number = self._state.phone_numbers.get(members["phone_number_id"] or default)
        if number is None:
            raise BadRequestError(f"There is no phone number {members['phone_number_id']}.", status=404)
        webhook = self._mailbox.receive(
            self._state,
            number,
            media,
            text=members["text"],
            sender=members["from"],
            file_name=members["file_name"] or None,
        )
        return webhook, 201

    async def change_status(self, request: web.Request) -> Any:
        """Let a message that was sent have a `status`; the answer is Meta's webhook of it."""
        members = {"message_id": "", "status": "delivered", **await _object(request)}
        if len(members) > 2 or not all(isinstance(value, str) for value in members.values()):
            raise BadRequestError("A status has two strings.", allowed=["message_id", "status"])
        try:
            return self._mailbox.status(self._state, members["message_id"], members["status"]), 201
        except KeyError as exc:
            raise BadRequestError(f"No message {members['message_id']} was sent.", status=404) from exc
        except ValueError as exc:
            raise BadRequestError(str(exc), allowed=STATUSES) from exc

    async def show_settings(self, _: web.Request) -> Any:
        """The settings."""
        return msgspec.to_builtins(self._state.settings)

    async def change_settings(self, request: web.Request) -> Any:
        """Change some settings."""
        merged = {**msgspec.to_builtins(self._state.settings), **await _object(request)}
        self._state.settings = checked(merged, Settings)
        return msgspec.to_builtins(self._state.settings)

    async def advance_clock(self, request: web.Request) -> Any:
        """Let `advance` seconds pass: URLs and ids grow old."""
        seconds = (await _object(request)).get("advance")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 10**9:
            raise BadRequestError("`advance` is a number of seconds, 0 or more.")
        self._state.advance(seconds)
        return {"now": self._state.now()}

    async def reset(self, _: web.Request) -> Any:
        """Back to the state of the start."""
        self._state.reset()
        self._mailbox.clear()
        return {"now": self._state.now()}

    async def unknown(self, request: web.Request) -> Any:
        """Anything else."""
        raise BadRequestError(
            f"The control endpoint has no {request.method} {request.path}. See docs/simulator.md.", status=404
        )

    def _media(self, request: web.Request) -> Media:
        media = self._state.find(request.match_info["id"])
        if media is None:
            raise BadRequestError(f"There is no media {request.match_info['id']}.", status=404)
        return media

    def _describe(self, media: Media) -> dict[str, Any]:
        return {
            "id": media.id,
            "mime_type": media.mime_type,
            "size": media.size,
            "origin": media.origin,
            "phone_number_id": media.phone_number_id,
            "name": self._state.name_of(media.id),
            "expires_at": media.expires_at,
            "options": msgspec.to_builtins(media.options),
        }


def _as_json(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Turn what a handler returns (a value, or a value and a status) or its refusal into a JSON answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            result = await handler(request)
        except (BadRequestError, BadFaultError, BadValueError) as exc:
            body = {"error": str(exc)} | ({"allowed": exc.allowed} if exc.allowed is not None else {})
            return web.json_response(body, status=getattr(exc, "status", 400))
        value, status = result if isinstance(result, tuple) else (result, 200)
        return web.json_response(value, status=status)

    return answer


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as exc:
        raise BadRequestError("The body is not JSON.") from exc


async def _object(request: web.Request) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict):
        raise BadRequestError("The body is not a JSON object.")
    return body

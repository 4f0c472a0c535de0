"""Simulator, in `whaul dev` only: the phone of a developer, and what goes wrong on command."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from whaul.console.events import EventRows
from whaul.console.filters import Filters
from whaul.console.page import Page
from whaul.console.rendering import ago, size
from whaul.console.safety import HEADERS
from whaul.console.simulated import Simulated
from whaul.console.visit import PageError, Visit
from whaul.environment import is_under_dev
from whaul.operations.actions import USE_SIMULATOR, VIEW_MESSAGES
from whaul.outbound.netguard import is_loopback
from whaul.settings import Settings

HERE: Final = "/simulator"
CUSTOMER: Final = "15550100099"
"""Who writes, unless somebody else is named; as in the simulator."""
MAX_FILE: Final = 100 * 1024 * 1024
"""Bytes, as of WhatsApp's documents."""
EVENTS: Final = 10
LISTED: Final = 15
"""Messages, webhooks and requests that are listed, of each the newest."""
STATUSES: Final = ("delivered", "read", "failed", "sent")
STEPS: Final = ((300, "5 minutes"), (86_400, "a day"), (7 * 86_400, "7 days"), (30 * 86_400, "30 days"))
"""Times that matter: Meta's download URLs, windows and media end then."""
WITH_MICROPHONE: Final = HEADERS["permissions-policy"].replace("microphone=()", "microphone=(self)")
MOODS: Final = {"delivered": "good", "dropped": "bad", "due": "wait", "sending": "wait"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a fault, as a field of a form."""

    name: str
    type: str
    """As JSON Schema has it; empty for any JSON."""
    options: tuple[Any, ...]
    default: Any
    is_required: bool
    minimum: int

    @property
    def example(self) -> Any:
        """A value that it takes."""
        return "https://example.com" if self.type == "string" else max(1, self.minimum)

    @property
    def shown(self) -> str:
        """The default, as somebody would write it."""
        if self.default is None or self.default in ({}, []):
            return ""
        return self.default if isinstance(self.default, str) else msgspec.json.encode(self.default).decode()

    def read(self, text: str) -> Any:
        """Read what somebody wrote. Raises PageError."""
        if self.options:
            return next((option for option in self.options if str(option) == text), text)
        if self.type == "string":
            return text
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise PageError(f"{self.name}: {text} is not JSON; it takes {self.type or 'any JSON'}.", 400) from None


def is_there(settings: Settings) -> bool:
    """Say whether there is a simulator: in `whaul dev`, and on this machine."""
    return is_under_dev(os.environ) and is_loopback(urlsplit(settings.graph_url).hostname or "")


async def show(visit: Visit) -> Response:
    """Show the phone, and what the simulator does."""
    simulated, query = _simulated(visit), visit.request.query_params
    paths = ("/state", "/messages", "/webhooks", "/requests", "/faults/kinds", "/webhooks/examples")
    state, phone, webhooks, requests, kinds, examples = await asyncio.gather(*map(simulated.ask, paths))
    kind = query.get("fault", "")
    if kind and kind not in kinds:
        raise PageError(f"There is no fault {kind}.", 400)
    sees = visit.may_somewhere(VIEW_MESSAGES)
    now, real = _moment(state["now"]), datetime.now(UTC)
    ahead = timedelta(seconds=round((now - real).total_seconds()))
    parameters = _parameters(kinds[kind]) if kind else ()
    wanted = {each.name: each.example for each in parameters if each.is_required}
    page = await visit.page(
        "simulator.html",
        control=simulated.url,
        sender=query.get("from", CUSTOMER),
        number=query.get("to", ""),
        numbers=[(each["id"], each["display_phone_number"]) for each in state["phone_numbers"]],
        groups=_grouped(examples["examples"]),
        events=await _newest(visit) if sees else [],
        live="/messages/live?" if sees else None,
        phone=[_sent(each) for each in reversed(phone["messages"][-LISTED:])],
        statuses=STATUSES,
        webhooks=[_delivery(each) for each in reversed(webhooks["deliveries"][-LISTED:])],
        is_paused=webhooks["paused"],
        requests=[each | {"at": _moment(each["at"])} for each in reversed(requests["requests"][-LISTED:])],
        faults=[(each, _chosen(each, kinds[each["kind"]])) for each in state["faults"]],
        kinds=kinds,
        kind=kind,
        parameters=parameters,
        example=msgspec.json.encode({"kind": kind} | wanted).decode(),
        now=now,
        ahead=ago(real, real + ahead).removesuffix(" ago") if ahead > timedelta(seconds=5) else "",
        steps=STEPS,
    )
    page.headers["permissions-policy"] = WITH_MICROPHONE
    return page


async def write(visit: Visit) -> Response:
    """Let somebody write: a text, or a file with or without one."""
    visit.require(USE_SIMULATOR)
    form, simulated = await visit.form(), _simulated(visit)
    text, file = str(form.get("text", "")), form.get("file")
    message = _person(form) | {"text": text}
    told = "a text"
    if isinstance(file, UploadFile) and file.filename:
        type_ = _type_of(file)
        members = {"phone_number_id": message["phone_number_id"]} if "phone_number_id" in message else {}
        message["media_id"] = await simulated.add_media(file, type_, **members)
        message["file_name"] = Path(file.filename).name
        visit.details["mimeType"] = type_
        told = f"a file ({type_}, {size(file.size or 0)})"
    elif not text.strip():
        raise PageError("Write something, or choose a file.", 400)
    await simulated.tell("POST", "/messages/inbound", message)
    return _back(visit, form, f"{message['from']} has sent {told}. It comes below.")


async def send_example(visit: Visit) -> Response:
    """Post one of Meta's webhooks."""
    visit.require(USE_SIMULATOR)
    form, simulated = await visit.form(), _simulated(visit)
    name = str(form.get("example", ""))
    about = {"message_id": str(form["about"])} if form.get("about") else {}
    text = {"text": str(form["text"])} if form.get("text") else {}
    sent = _person(form) | text | about | {"example": name}
    answer = await simulated.tell("POST", "/webhooks", sent)
    visit.details["example"] = name
    attempts = [attempt for each in answer["deliveries"] for attempt in each["attempts"]]
    came = ", ".join(str(attempt["status"] or attempt["error"]) for attempt in attempts) or "nothing yet"
    return _back(visit, form, f"Posted {name}; what came back: {came}.")


async def give_status(visit: Visit) -> Response:
    """Let a message that was sent to the phone arrive, be read, or fail."""
    visit.require(USE_SIMULATOR)
    form = await visit.form()
    status = str(form.get("status", ""))
    told = {"message_id": str(form.get("message", "")), "status": status}
    await _simulated(visit).tell("POST", "/messages/status", told)
    return visit.back(HERE, f"The message is {status} now; its webhook comes below.")


async def add_fault(visit: Visit) -> Response:
    """Have something go wrong."""
    visit.require(USE_SIMULATOR)
    form, simulated = await visit.form(), _simulated(visit)
    kinds, kind = await simulated.ask("/faults/kinds"), str(form.get("kind", ""))
    if kind not in kinds:
        raise PageError(f"There is no fault {kind}.", 400)
    given = [(each, str(form.get(each.name, ""))) for each in _parameters(kinds[kind])]
    members = {each.name: each.read(text) for each, text in given if text.strip()}
    await simulated.tell("POST", "/faults", {"kind": kind} | members)
    visit.details["fault"] = kind
    return visit.back(HERE, f"The next calls meet {kind}.")


async def clear_faults(visit: Visit) -> Response:
    """Have nothing go wrong any more, or not with one media."""
    visit.require(USE_SIMULATOR)
    media_id = str((await visit.form()).get("media_id", ""))
    chosen = f"?{urlencode({'media_id': media_id})}" if media_id else ""
    await _simulated(visit).tell("DELETE", f"/faults{chosen}")
    return visit.back(HERE, f"Faults of {media_id} are gone." if media_id else "All faults are gone.")


async def advance(visit: Visit) -> Response:
    """Let time pass there."""
    visit.require(USE_SIMULATOR)
    text = str((await visit.form()).get("seconds", ""))
    try:
        seconds = float(text)
    except ValueError:
        raise PageError(f"{text} is no number of seconds.", 400) from None
    if not seconds < float("inf"):
        raise PageError(f"{text} is no number of seconds.", 400)
    await _simulated(visit).tell("POST", "/clock", {"advance": seconds})
    return visit.back(HERE, "Time has passed there. What was due meanwhile happens now.")


async def hold(visit: Visit) -> Response:
    """Hold webhooks back, or send them again."""
    visit.require(USE_SIMULATOR)
    word = visit.request.path_params["word"]
    if word not in ("pause", "resume"):
        raise PageError("There is no such page.")
    await _simulated(visit).tell("POST", f"/webhooks/{word}")
    told = "Webhooks are held back." if word == "pause" else "Webhooks are sent again."
    return visit.back(HERE, told)


async def redeliver(visit: Visit) -> Response:
    """Post a webhook once more."""
    visit.require(USE_SIMULATOR)
    delivery = visit.request.path_params["id"]
    await _simulated(visit).tell("POST", f"/webhooks/{delivery}/redeliver")
    return visit.back(HERE, "The webhook was posted once more.")


def _simulated(visit: Visit) -> Simulated:
    visit.require(USE_SIMULATOR)
    return Simulated(visit.console.http, visit.console.settings.graph_url)


def _back(visit: Visit, form: FormData, told: str) -> Response:
    """Go to the page with the same person and number."""
    chosen = {name: str(form[name]) for name in ("from", "to") if form.get(name)}
    return visit.back(f"{HERE}?{urlencode(chosen)}", told)


def _person(form: FormData) -> dict[str, str]:
    number = str(form.get("to", ""))
    sender = str(form.get("from", "")).strip() or CUSTOMER
    return {"from": sender} | ({"phone_number_id": number} if number else {})


def _type_of(file: UploadFile) -> str:
    """Name the type that a phone would give a file: browsers do not know that of a voice note."""
    from whaul.simulator.media import mime_type_of  # noqa: PLC0415 - comes with an extra, which `whaul dev` has

    unknown = "application/octet-stream"
    found = mime_type_of(Path(file.filename or ""))
    return found if found != unknown else file.content_type or unknown


async def _newest(visit: Visit) -> list[Any]:
    selection = await Filters().seen(visit)
    page = await visit.console.journal.page(selection, EVENTS, None)
    return await EventRows(visit).of(page.events)


def _grouped(examples: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Put the examples that people send before those of which Meta tells."""
    of_meta = ("status_", "errors")
    people = [name for name, field in examples.items() if field == "messages" and not name.startswith(of_meta)]
    return [("People", people), ("Meta", [name for name in examples if name not in people])]


def _sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message on the phone."""
    content, contact = message["message"], message["contact"]
    kind = str(content.get("type", "text")) if message["id"] else "marked as read"
    body = content.get(kind)
    said = ""
    if isinstance(body, dict):
        said = next((str(body[name]) for name in ("body", "caption", "name", "emoji", "link") if body.get(name)), "")
    return {
        "id": message["id"],
        "to": contact.get("input", "nobody"),
        "kind": kind,
        "said": said or kind,
        "source": msgspec.json.encode(content),
    }


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    last = delivery["attempts"][-1] if delivery["attempts"] else None
    came = "" if last is None else str(last["status"] or last["error"])
    return dict(delivery) | {"at": _moment(delivery["at"]), "came": came, "mood": MOODS[delivery["state"]]}


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def _parameters(kind: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Read the parameters of a fault from their JSON schemas; its own come first."""
    found = []
    for name, schema in kind["parameters"].items():
        shape = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
        options = tuple(shape.get("enum", ())) or ((True, False) if shape.get("type") == "boolean" else ())
        is_required = "default" not in schema and bool(shape)
        found.append(
            Parameter(name, shape.get("type", ""), options, schema.get("default"), is_required, shape.get("minimum", 0))
        )
    return tuple(each for each in found if each.name != "kind")


def _chosen(fault: Mapping[str, Any], kind: Mapping[str, Any]) -> str:
    """Say what a fault has besides its defaults."""
    shown = {"kind", "media_id", "hop", "hits", "left", "times"}
    others = {each.name: fault.get(each.name) for each in _parameters(kind) if fault.get(each.name) != each.default}
    return ", ".join(f"{name}={value}" for name, value in others.items() if name not in shown and value is not None)


PAGES: Final = (
    Page(path=HERE, action=USE_SIMULATOR, answer=show, title="Simulator"),
    Page(path=f"{HERE}/messages", action=USE_SIMULATOR, answer=write, posts=True, max_body=MAX_FILE + 64 * 1024),
    Page(path=f"{HERE}/examples", action=USE_SIMULATOR, answer=send_example, posts=True, max_body=MAX_FILE + 64 * 1024),
    Page(path=f"{HERE}/statuses", action=USE_SIMULATOR, answer=give_status, posts=True),
    Page(path=f"{HERE}/faults", action=USE_SIMULATOR, answer=add_fault, posts=True),
    Page(path=f"{HERE}/faults/clear", action=USE_SIMULATOR, answer=clear_faults, posts=True),
    Page(path=f"{HERE}/clock", action=USE_SIMULATOR, answer=advance, posts=True),
    Page(path=f"{HERE}/webhooks/{{word}}", action=USE_SIMULATOR, answer=hold, posts=True),
    Page(path=f"{HERE}/webhooks/{{id:int}}/redeliver", action=USE_SIMULATOR, answer=redeliver, posts=True),
)

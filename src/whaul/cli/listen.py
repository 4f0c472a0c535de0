"""`whaul listen`: the events of an account to a program under development."""

import asyncio
import json as json_module
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import destination_options as options
from whaul.cli import output
from whaul.cli.event_filters import Since
from whaul.cli.failures import CommandError
from whaul.cli.inbound import Inbound, moment_from, opened, tell_that_it_is_away, timestamp
from whaul.cli.stack import ask_no_proxy_for_loopback

if TYPE_CHECKING:
    from pydantic import SecretStr

    from whaul.events.filters import Filter
    from whaul.events.journal import Journal
    from whaul.events.model import Event
    from whaul.events.targets.https import HttpsTarget
    from whaul.outbound.response import Response
    from whaul.settings import Settings


def listen(
    *,
    account: Annotated[str, typer.Option(help="Whose events: waba-…, its ARN, or Meta's id.")],
    forward_to: Annotated[
        str, typer.Option(metavar="URL", help="Where your program takes them, such as http://127.0.0.1:3000/events.")
    ],
    field: options.Fields = None,
    kind: options.Kinds = None,
    type_: options.Types = None,
    phone_number: options.Numbers = None,
    since: Since = None,
    format_: options.FormatOf = options.Format.AWS,
    secret_file: options.SecretFile = None,
    content: Annotated[
        bool, typer.Option("--content", help="Show what is sent, with what people wrote, and what comes back.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON documents, one in a line.")] = False,
) -> None:
    """Send an account's events to a program under development as they come, until Ctrl-C, and show its answers.

    Each is sent once, as an HTTPS destination would get it, replays too. Nothing is kept of it, and other destinations
    notice nothing.

    Examples:
        whaul listen --account 400000000000001 --forward-to http://127.0.0.1:3000/events
        whaul listen --account 400000000000001 --forward-to http://127.0.0.1:3000/ --kind message --since 1h
    """
    from whaul.settings import Settings

    ask_no_proxy_for_loopback()
    if not forward_to.startswith(("http://", "https://")):
        raise typer.BadParameter("expected a URL such as http://127.0.0.1:3000/events", param_hint="--forward-to")
    secret = options.secret_of(forward_to, format_.value, secret_file)
    assert secret is not None  # noqa: S101 - there always is one for a URL
    listening = Listening(
        account=account,
        url=forward_to,
        phone_numbers=phone_number or [],
        wanted=options.filter_of(field, kind, type_),
        since=moment_from("--since", since),
        format=format_.value,
        secret=secret,
        is_secret_new=secret_file is None,
        shows_content=content,
        json=json,
    )
    asyncio.run(listening.run(Settings.load()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What was asked for."""

    account: str
    url: str
    phone_numbers: list[str]
    wanted: "Filter"
    since: datetime | None
    format: str
    secret: "SecretStr"
    is_secret_new: bool
    shows_content: bool
    json: bool

    async def run(self, settings: "Settings") -> None:
        """Forward until it is interrupted."""
        from whaul.components import public_client
        from whaul.events.envelope import Envelopes
        from whaul.events.targets import Options, TargetError
        from whaul.events.targets.https import HttpsTarget
        from whaul.outbound.netguard import EventHosts, ForbiddenUrlError, endpoint_url
        from whaul.outbound.public_names import PublicNames

        try:
            named = endpoint_url(self.url)  # whoever runs this may read all events: the host is theirs to choose
        except ForbiddenUrlError as forbidden:
            raise CommandError(f"--forward-to: {forbidden}") from None
        hosts = EventHosts([f"{named.host_str}:{named.port_or_known_default}"])
        http = public_client(PublicNames(hosts))
        try:
            async with opened(settings) as inbound:
                how = Options(format=self.format, secrets=(self.secret,))
                target = HttpsTarget(self.url, how, http, hosts, Envelopes(inbound.arns))
                await self._forward(inbound, target)
        except TargetError as error:
            raise CommandError(f"--forward-to: {error}") from None
        finally:
            await http.close()

    async def _forward(self, inbound: Inbound, target: "HttpsTarget") -> None:
        from whaul.events.database.columns import microseconds
        from whaul.events.delivery.following import LOOK, Coming, Replayed
        from whaul.events.delivery.replays import Replays
        from whaul.events.journal import Journal
        from whaul.events.selecting import Selection

        account_id = (await inbound.account(self.account)).id
        wanted = replace(self.wanted, meta_phone_number_ids=await inbound.phone_numbers(self.phone_numbers))
        journal = Journal(inbound.store, inbound.cipher, inbound.owner)
        since = None if self.since is None else microseconds(self.since)
        coming = Coming(journal, Selection(account_id=account_id, since=since), tell_that_it_is_away)
        replayed = Replayed(Replays(inbound.store, inbound.cipher, inbound.owner))
        await coming.begin()
        await replayed.begin()
        self._tell_of_the_start(account_id)
        while True:
            found = [(event.seq, False) for event in await coming.look()]
            found += [(seq, True) for seq in await replayed.look()]
            for seq, is_replay in found:
                event = await _read(journal, seq)
                if event is not None and event.account_id == account_id and wanted.wants(event):
                    await self._send(target, replace(event, replay=is_replay))
            if not (coming.has_more or replayed.has_more):
                await asyncio.sleep(LOOK)

    async def _send(self, target: "HttpsTarget", event: "Event") -> None:
        from whaul.outbound.errors import HttpError
        from whaul.outbound.netguard import ForbiddenUrlError

        begun = time.monotonic()
        try:
            self._tell(target, event, await target.post(event), None, time.monotonic() - begun)
        except (HttpError, ForbiddenUrlError) as error:
            self._tell(target, event, None, str(error), time.monotonic() - begun)

    def _tell_of_the_start(self, account_id: str) -> None:
        shown = self.secret.get_secret_value() if self.is_secret_new else None
        if self.json:
            document = {"accountId": account_id, "forwardTo": self.url, "format": self.format}
            output.json_line(document | ({} if shown is None else {"secret": shown}))
            return
        output.line(f"The events of {account_id} go to {self.url} as they come. Ctrl-C ends it.")
        if shown is not None:
            output.line(f"They are signed with the secret {shown}")
        output.line("", must_be_read=True)

    def _tell(
        self, target: "HttpsTarget", event: "Event", response: "Response | None", error: str | None, seconds: float
    ) -> None:
        """Show what was sent and what came back, without what people wrote: an answer may repeat it."""
        now = timestamp(datetime.now(UTC))
        milliseconds = round(seconds * 1000)
        status = None if response is None else response.status
        sent = target.body(event) if self.shows_content else b""
        answer = None if response is None else response.body.decode(errors="replace")
        if self.json:
            shown: dict[str, Any] = {
                "at": now,
                "messageId": event.message_id,
                "field": event.field,
                "kind": event.kind,
                "type": event.type,
                "replay": event.replay,
                "status": status,
                "error": error,
                "milliseconds": milliseconds,
            }
            if self.shows_content:
                shown |= {"content": json_module.loads(sent), "answer": answer}
            output.json_line(shown)
            return
        what = "/".join(part for part in (event.field, event.kind, event.type) if part)
        answered = "no answer" if status is None else f"HTTP {status}"
        parts = [now, what, answered, f"{milliseconds} ms", event.message_id, "replay" if event.replay else "", error]
        output.line("  ".join(part for part in parts if part), must_be_read=True)
        if self.shows_content:
            output.line(f"  sent    {sent.decode(errors='replace')}", must_be_read=True)
            if answer:
                output.line(f"  answer  {answer}", must_be_read=True)


async def _read(journal: "Journal", seq: int) -> "Event | None":
    """Read an event with its content, as soon as the database answers; None if it is gone or cannot be read."""
    from whaul.events.delivery.following import LOOK
    from whaul.registry.errors import RegistryUnavailableError
    from whaul.secrets import SecretKeyError

    while True:
        try:
            return await journal.event(seq)
        except RegistryUnavailableError:
            await asyncio.sleep(LOOK)
        except SecretKeyError:
            output.tell("whaul: an event is left out: it is encrypted with a key that is not in WHAUL_SECRET_KEY")
            return None

"""What a target says of an event is kept, but not what people wrote in it."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from harness.inbox import NOON, post, text
from whaul.events.model import Accepted, Event, Failed, Outcomes
from whaul.events.targets.discreet import REPEATED, Discreet, discreet, repeats

LONG = "I would like to order two pizzas, please; \u201cquattro stagioni\u201d \U0001f355"


def entry(body: str = LONG, **members: Any) -> bytes:
    return post(text("wamid.A", body=body) | members).items[0].entry


@pytest.mark.parametrize(
    "said",
    [
        LONG,
        json.dumps({"detail": [{"input": {"text": {"body": LONG}}}]}),
        json.dumps(json.dumps({"text": {"body": LONG}})),
        json.dumps(json.dumps(json.dumps({"text": {"body": LONG}}), ensure_ascii=False)),
        f"bad request: {LONG[:30]}",  # cut off
        LONG.replace(" ", "\n  "),
        "no such person: 15550100101",
        entry().decode(),
    ],
)
def test_an_answer_that_repeats_the_event_is_recognised(said: str) -> None:
    assert repeats(said, entry())


@pytest.mark.parametrize(
    "said",
    [
        "",
        "HTTP 400",
        "no such tenant",
        "unknown message wamid.A of type text",
        "phone number 106540352242922 is not known",
        "timestamp 1763640000 is too old",
        '{"detail":[{"loc":["body","context"],"msg":"Field required","type":"missing"}]}',
        "I would like it",
    ],
)
def test_any_other_answer_is_kept(said: str) -> None:
    assert not repeats(said, entry())


@pytest.mark.parametrize(
    ("body", "said", "expected"), [("Hi", "got Hi", True), ("Hi", "High", False), ("1", "1", False)]
)
def test_a_short_text_counts_as_a_word(body: str, said: str, expected: bool) -> None:
    assert repeats(said, entry(body)) == expected


def test_what_is_not_json_is_not_looked_at() -> None:
    assert not repeats("anything", b"no json")


def event() -> Event:
    return Event(
        message_id="id",
        received_at=NOON,
        kind="message",
        type="text",
        field="messages",
        waba_id="1",
        meta_phone_number_id=None,
        wamid="wamid.A",
        conversation=b"",
        entry=entry(),
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"HTTP 422: {LONG}", f"HTTP 422 {REPEATED}"),
        (f"{LONG}: no", REPEATED),
        ("HTTP 422: no such tenant", "HTTP 422: no such tenant"),
    ],
)
def test_the_status_stays(said: str, kept: str) -> None:
    assert discreet(Failed("rejected", said, 5.0), event()) == Failed("rejected", kept, 5.0)


class Echo:
    """A target that refuses every other event, and says what it was."""

    max_batch = 10
    closed = False

    async def send(self, events: Sequence[Event]) -> Outcomes:
        said = [each.entry.decode() for each in events]
        return [Failed("rejected", one) if place % 2 else Accepted(one) for place, one in enumerate(said)]

    async def close(self) -> None:
        self.closed = True


def test_a_target_is_the_same_otherwise() -> None:
    echo = Echo()
    target = Discreet(echo)
    outcomes = asyncio.run(target.send([event(), event()]))
    assert [type(outcome) for outcome in outcomes] == [Accepted, Failed]
    assert outcomes[1].detail == REPEATED
    assert target.max_batch == 10
    asyncio.run(target.close())
    assert echo.closed

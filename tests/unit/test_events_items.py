"""Webhooks cut into items: nothing lost, bytes as Meta wrote them, and what makes two items the same."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.events.model import Item
from whaul.events.receiving.identity import identify
from whaul.events.receiving.items import MAX_ID, MAX_ITEMS, MAX_PARTIES, split

WABA = "102290129340398"
NUMBER = "106540352242922"
PERSON = "15550100101"
USER = "US.13491208655302741918"
V: Mapping[str, Any] = {
    "messaging_product": "whatsapp",
    "metadata": {"display_phone_number": "15550100100", "phone_number_id": NUMBER},
}
NOW = datetime(2026, 11, 18, 11, 30, tzinfo=UTC)
OWNER = "000000000000"
VOICE = {"mime_type": "audio/ogg; codecs=opus", "sha256": "NWIN", "id": "1738433820214014", "voice": True}


def webhook(value: Any, field: str = "messages", **entry: Any) -> bytes:
    change = {"value": value, "field": field}
    return body({"id": WABA, **entry, "changes": [change]})


def body(*entries: Any) -> bytes:
    return json.dumps({"object": "whatsapp_business_account", "entry": entries}, separators=(",", ":")).encode()


def message(**members: Any) -> dict[str, Any]:
    return {"from": PERSON, "id": "wamid.AAAA", "timestamp": "1795000000", "type": "text", **members}


def only(content: bytes) -> Item:
    (item,) = split(content)
    return item


def value_of(item: Item) -> Any:
    return json.loads(item.entry)["changes"][0]["value"]


def key(item: Item, at: datetime = NOW, app: str | None = None) -> bytes:
    return identify(item, OWNER, at, app).key


def test_a_voice_note() -> None:
    content = webhook({**V, "contacts": [{"wa_id": PERSON}], "messages": [message(type="audio", audio=VOICE)]})
    item = only(content)
    assert content == b'{"object":"whatsapp_business_account","entry":[' + item.entry + b"]}"
    assert (item.kind, item.type, item.field) == ("message", "audio", "messages")
    assert (item.waba_id, item.meta_phone_number_id, item.display_phone_number) == (WABA, NUMBER, "15550100100")
    assert (item.wamid, item.at, item.parties) == ("wamid.AAAA", 1795000000, (PERSON,))
    (file,) = item.media
    assert (file.media_id, file.mime_type, file.message_type) == (VOICE["id"], VOICE["mime_type"], "audio")
    assert (file.message_id, file.at, file.sha256) == ("wamid.AAAA", 1795000000, "NWIN")


def test_every_element_is_an_item_with_its_own_contacts() -> None:
    value = {
        **V,
        "contacts": [{"wa_id": "1"}, {"user_id": USER}, {"wa_id": "3"}],
        "messages": [message(**{"from": "1"}), message(from_user_id=USER, id="wamid.B"), message(id="wamid.C")],
        "statuses": [{"id": "wamid.S", "status": "read", "timestamp": "9", "recipient_id": "3"}],
        "errors": [{"code": 130429, "title": "Rate limit hit"}],
        "calls": [{"id": "wacid.X", "event": "connect", "timestamp": "8", "from": "1"}],
    }
    items = split(webhook(value))
    kinds = [(item.kind, item.type) for item in items]
    assert kinds == [
        *[("message", "text")] * 3,
        ("status", "read"),
        ("notification", None),
        ("call", "connect"),
    ]
    assert [list(value_of(item)) for item in items[:2]] == [
        ["messaging_product", "metadata", "contacts", "messages"]
    ] * 2
    contacts = [value_of(item)["contacts"] for item in items]
    everybody = value["contacts"]
    assert contacts == [[{"wa_id": "1"}], [{"user_id": USER}], everybody, [{"wa_id": "3"}], everybody, [{"wa_id": "1"}]]


def test_standby_is_cut_where_it_stands() -> None:
    standby = {
        "contacts": [{"wa_id": "1"}, {"wa_id": PERSON}],
        "messages": [message(), message(id="wamid.B", **{"from": "1"})],
        "message_echoes": [{"from": "15550100100", "to": PERSON, "id": "wamid.E", "type": "image", "image": VOICE}],
    }
    items = split(webhook({**V, "standby": standby}, "standby"))
    assert [(item.kind, item.wamid, item.meta_phone_number_id) for item in items] == [
        ("message", "wamid.AAAA", NUMBER),
        ("message", "wamid.B", NUMBER),
        ("echo", "wamid.E", NUMBER),
    ]
    assert value_of(items[0]) == {**V, "standby": {"contacts": [{"wa_id": PERSON}], "messages": [message()]}}
    assert len(items[2].media) == 1
    assert items[2].conversation == items[0].conversation


def test_bytes_are_those_of_meta() -> None:
    odd = b'{"id":"wamid.\\u0041","type":"order","amount":1.50e2,"big":123456789012345678901234567890,"t":"\\/\\u00e9"}'
    content = webhook({"messages": ["@"]}).replace(b'"@"', odd)
    item = only(content)
    assert odd in item.entry
    assert item.wamid == "wamid.A"


def test_white_space_between_the_parts_goes_and_within_text_stays() -> None:
    value = {**V, "messages": [message(text={"body": 'a , "b" : [ \\ c ]\n'})]}
    spaced = json.dumps(json.loads(webhook(value)), indent=2).encode()
    assert only(spaced).entry == only(webhook(value)).entry


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"\xff",
        b"{}",
        b"[]",
        b'{"object":"page","entry":[]}',
        b'{"object":"whatsapp_business_account"}',
        b'{"object":"whatsapp_business_account","entry":{}}',
        b'{"object":"whatsapp_business_account","entry":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        webhook({"messages": [message(id=str(number)) for number in range(MAX_ITEMS + 1)]}),
        webhook({"messages": [message(id=str(number)) for number in range(200)], "much": "x" * 400_000}),
        webhook({"contacts": [{"wa_id": str(number)} for number in range(MAX_PARTIES + 1)]}),
        # Read once: to look for the end of a string again and again would take hours.
        b'{"a":"' + b'\\"' * 1_000_000,
        b'"\\\n' * 300_000,
        # Cut piece by piece: all pieces at once would be gigabytes.
        webhook({"messages": [message(id=str(number)) for number in range(9000)], "much": "x" * 1_000_000}),
    ],
)
def test_a_body_that_cannot_be_used_is_kept_whole(content: bytes) -> None:
    item = only(content)
    assert (item.kind, item.entry, item.waba_id) == ("unparsed", content, "")
    assert key(item) == key(only(content))
    assert key(item) != key(only(content + b" "))


def test_many_small_items_are_kept_apart() -> None:
    assert len(split(webhook({**V, "messages": [{"id": str(number)} for number in range(MAX_ITEMS)]}))) == MAX_ITEMS


def test_an_empty_body_of_meta_holds_nothing() -> None:
    assert split(b'{"object":"whatsapp_business_account","entry":[]}') == []


BAD_ELEMENTS = [
    b"5",
    b"null",
    b'"text"',
    b"[]",
    b'{"id":"half \\ud83d","type":"text"}',
    b'{"id":"nul \\u0000","type":"text"}',
    b'{"id":"' + b"x" * (MAX_ID + 1) + b'","type":"text"}',
    b'{"id":"wamid.B","type":"text","n":1e999}',
]


@pytest.mark.parametrize("bad", BAD_ELEMENTS)
def test_one_bad_item_spoils_no_other(bad: bytes) -> None:
    content = webhook({**V, "messages": [message(), "@", message(id="wamid.C")]}).replace(b'"@"', bad)
    before, item, after = split(content)
    assert (before.wamid, after.wamid) == ("wamid.AAAA", "wamid.C")
    assert (item.kind, item.waba_id, item.field) == ("unparsed", WABA, "messages")
    assert len({key(before), key(item), key(after)}) == 3


def test_bad_entries_and_changes_spoil_no_other() -> None:
    good = {"id": WABA, "changes": [5, {"field": "messages"}, {"value": {**V, "messages": [message()]}}]}
    kinds = [item.kind for item in split(body(5, {"id": WABA}, {"id": WABA, "changes": 7}, good))]
    assert kinds == ["unparsed", "unparsed", "unparsed", "unparsed", "notification", "message"]


@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        "text",
        [1],
        {},
        {"event": "APPROVED"},
        {"messages": []},
        {"messages": {}},
        {"history": [{"threads": []}]},
    ],
)
def test_everything_else_is_one_notification(value: Any) -> None:
    item = only(webhook(value, "something_new", time=1795000000))
    assert (item.kind, item.type, item.field, item.at) == ("notification", None, "something_new", 1795000000)
    assert value_of(item) == value


def test_files_of_edits_and_histories() -> None:
    edit = {
        "original_message_id": "wamid.O",
        "message": {"type": "image", "image": {"id": "7", "mime_type": "image/png"}},
    }
    (file,) = only(webhook({**V, "messages": [message(type="edit", edit=edit)]})).media
    assert (file.media_id, file.message_id, file.message_type) == ("7", "wamid.AAAA", "image")
    threads = [{"id": "1", "messages": [message(type="audio", audio=VOICE), message(type="audio", audio={"id": 5})]}]
    history = only(webhook({**V, "history": [{"threads": threads}]}, "history"))
    assert [file.media_id for file in history.media] == [VOICE["id"]]
    assert history.kind == "notification"


@pytest.mark.parametrize(
    "media_id", ["..", "../1", "1?fields=x", "1#", "%2e%2e", "1/2", "\u00e9", "", "1\n", "1" * 201]
)
def test_what_leads_elsewhere_names_no_file(media_id: str) -> None:
    odd = message(type="image", image={"id": media_id, "mime_type": "image/jpeg"})
    assert only(webhook({**V, "messages": [odd]})).media == ()


@pytest.mark.parametrize(
    ("members", "party"),
    [
        ({}, PERSON),
        ({"from_user_id": USER}, USER),
        ({"group_id": "G1", "from_user_id": USER}, "G1"),
    ],
)
def test_the_conversation_of_a_message(members: Mapping[str, Any], party: str) -> None:
    item = only(webhook({**V, "messages": [message(**members)]}))
    assert json.loads(item.conversation) == [NUMBER, party]


def test_all_sides_of_a_conversation_agree() -> None:
    value = {
        **V,
        "messages": [message()],
        "statuses": [{"id": "wamid.S", "status": "read", "timestamp": "9", "recipient_id": PERSON}],
        "message_echoes": [{"id": "wamid.E", "from": "15550100100", "to": PERSON, "type": "text"}],
        "calls": [
            {"id": "1", "event": "connect", "direction": "USER_INITIATED", "from": PERSON, "to": "15550100100"},
            {"id": "2", "event": "connect", "direction": "BUSINESS_INITIATED", "from": "15550100100", "to": PERSON},
        ],
    }
    assert len({item.conversation for item in split(webhook(value))}) == 1


def test_without_a_party_the_account_is_the_conversation() -> None:
    assert only(webhook({"event": "DISABLED_UPDATE"}, "account_update")).conversation == WABA


def same(first: Any, second: Any, field: str = "messages", **entry: Any) -> bool:
    """Whether two webhooks tell the same."""
    return key(only(webhook(first, field, **entry))) == key(only(webhook(second, field, **entry)))


def status(**members: Any) -> dict[str, Any]:
    return {"statuses": [{"id": "wamid.S", "status": "sent", "timestamp": "9", "recipient_id": PERSON, **members}]}


def test_copies_of_a_message_are_the_same_whatever_their_bytes() -> None:
    copy = message(type="image", image={"id": "1", "mime_type": "image/png", "url": "https://x/1"})
    other = message(type="image", image={"id": "1", "mime_type": "image/png", "url": "https://x/2"})
    assert same({**V, "messages": [copy]}, {"messages": [other], **V})
    assert not same({"messages": [message()]}, {"messages": [message(id="wamid.B")]})
    assert not same({"messages": [message()]}, {"message_echoes": [message()]})


def test_statuses_differ_by_state_time_and_recipient() -> None:
    assert same(status(), status(pricing={"billable": True}))
    different = [status(status="read"), status(timestamp="10"), status(recipient_id="2"), status(id="wamid.T")]
    group = [status(recipient_participant_id=participant) for participant in ("3", "4")]
    keys = {key(only(webhook(value))) for value in [status(), *different, *group]}
    assert len(keys) == 7


def test_notifications_differ_by_time_and_value() -> None:
    assert same({"event": "A"}, {"event": "A"}, "account_update", time=5)
    assert not same({"event": "A"}, {"event": "B"}, "account_update", time=5)
    assert key(only(webhook({"event": "A"}, "f", time=5))) != key(only(webhook({"event": "A"}, "f", time=6)))


def test_what_has_no_time_is_the_same_within_an_hour() -> None:
    item = only(webhook({"event": "A"}, "account_update"))
    assert key(item) == key(item, NOW + timedelta(minutes=29))
    assert key(item) != key(item, NOW + timedelta(minutes=30))
    timed = only(webhook({"event": "A", "timestamp": 1795000000}, "account_update"))
    assert key(timed) == key(timed, NOW + timedelta(days=3))


def test_the_key_holds_owner_account_and_app() -> None:
    item = only(webhook({"messages": [message()]}))
    elsewhere = only(body({"id": "1", "changes": [{"value": {"messages": [message()]}, "field": "messages"}]}))
    keys = {
        key(item),
        key(item, app="7"),
        key(item, app="8"),
        key(elsewhere),
        identify(item, "111111111111", NOW).key,
    }
    assert len(keys) == 5


def test_ids_of_events_never_change() -> None:
    # Consumers keep them as idempotency keys: a change of this value is a change of all of them.
    item = only(webhook({**V, "messages": [message()]}))
    assert identify(item, OWNER, NOW).message_id == "1527b23a-965b-5c5f-a199-35f75c39fbf0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "standby", "contacts", "type", "id", "from", "metadata", "statuses", "edit"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["messages", "standby", "odd"]))
def test_any_value_becomes_items_that_hold_what_came(value: Any, field: str) -> None:
    items = split(webhook(value, field))
    assert items
    for item in items:
        entry = json.loads(item.entry)
        assert entry["id"] == WABA
        (change,) = entry["changes"]
        assert change["field"] == field
    assert [key(item) for item in items] == [key(item) for item in split(webhook(value, field))]


@given(st.binary(max_size=60))
def test_any_bytes_are_kept(content: bytes) -> None:
    assert [item.entry for item in split(content)] == [content]

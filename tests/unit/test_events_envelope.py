"""What receivers of events get: AWS's envelope to the byte, and the other forms."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from whaul.arns import Arns
from whaul.events.envelope import Envelopes, meta
from whaul.events.filters import Filter
from whaul.events.model import Event
from whaul.events.receiving import signatures

ENTRY = (
    b'{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":'
    b'"15550100100","phone_number_id":"106540352242922"},"contacts":[{"profile":{"name":"Ana \\u00e9"},"wa_id":'
    b'"15550100101"}],"messages":[{"from":"15550100101","id":"wamid.AAAA","timestamp":"1795000000","type":"audio",'
    b'"audio":{"mime_type":"audio/ogg; codecs=opus","id":"1738433820214014","voice":true}}]},"field":"messages"}]}'
)
EVENT = Event(
    message_id="6d69f07a-c317-4278-9d5c-6a8407841900",
    received_at=datetime(2026, 11, 18, 11, 6, 42, 684321, tzinfo=UTC),
    kind="message",
    type="audio",
    field="messages",
    waba_id="102290129340398",
    meta_phone_number_id="106540352242922",
    wamid="wamid.AAAA",
    conversation=b"",
    entry=ENTRY,
)
STATUS = replace(
    EVENT,
    kind="status",
    type="failed",
    wamid="wamid.BBBB",
    entry=b'{"id":"102290129340398","changes":[{"value":{"metadata":{"display_phone_number":"15550100100"},"statuses":'
    b'[{"id":"wamid.BBBB","status":"failed","timestamp":"1795000100","recipient_id":"1","errors":[{"code":131026,'
    b'"title":"Message undeliverable","message":"No","error_data":{}}]}]},"field":"messages"}]}',
)
ARNS = Arns("000000000000", "eu-west-1")
ENVELOPES = Envelopes(ARNS)


def test_the_envelope_is_that_of_aws() -> None:
    account, number = ARNS.waba_id("102290129340398"), ARNS.phone_number_id("106540352242922")
    expected = (
        '{"context":{"MetaWabaIds":[{"wabaId":"102290129340398","arn":"'
        + ARNS.arn(account)
        + '"}],"MetaPhoneNumberIds":[{"metaPhoneNumberId":"106540352242922","arn":"'
        + ARNS.arn(number)
        + '"}]},"whatsAppWebhookEntry":'
        + json.dumps(ENTRY.decode())
        + ',"aws_account_id":"000000000000","message_timestamp":"2026-11-18T11:06:42.684321000Z",'
        '"messageId":"6d69f07a-c317-4278-9d5c-6a8407841900"}'
    )
    assert ENVELOPES.aws(EVENT).decode() == expected
    assert ARNS.read_phone_number(ARNS.arn(number)) == number


def test_an_event_of_the_account_names_no_number() -> None:
    context = json.loads(ENVELOPES.aws(replace(EVENT, meta_phone_number_id=None)))["context"]
    assert context["MetaPhoneNumberIds"] == []


def test_the_outcome_of_files_comes_last() -> None:
    envelope = ENVELOPES.aws(replace(EVENT, outcome=b'{"media":[]}'))
    assert envelope.endswith(b'"messageId":"6d69f07a-c317-4278-9d5c-6a8407841900","whaul":{"media":[]}}')


@pytest.mark.parametrize(
    ("event", "detail_type"),
    [
        (EVENT, "WhatsApp Message Received"),
        (replace(EVENT, kind="notification", type=None), "WhatsApp Unknown Notification Received"),
        (replace(STATUS, type="played"), "WhatsApp Unknown Notification Received"),
    ],
)
def test_eventbridge_gets_the_envelope_where_aws_has_no_form(event: Event, detail_type: str) -> None:
    assert ENVELOPES.eventbridge(event) == (detail_type, ENVELOPES.aws(event))


def test_eventbridge_gets_statuses_as_aws_sends_them() -> None:
    detail_type, detail = ENVELOPES.eventbridge(STATUS)
    assert detail_type == "WhatsApp Message Failed"
    assert json.loads(detail) == {
        "wabaId": "102290129340398",
        "originationPhoneNumber": "15550100100",
        "originationPhoneNumberId": "106540352242922",
        "messageId": "wamid.BBBB",
        "status": "failed",
        "eventTimestamp": "1795000100",
        "errors": [{"code": 131026, "title": "Message undeliverable", "message": "No"}],
    }


@pytest.mark.parametrize("odd", [5, True, "x", [1], {"a": 1}])
def test_eventbridge_gets_statuses_with_odd_members(odd: object) -> None:
    status = {"id": "wamid.BBBB", "status": "failed", "errors": odd, "timestamp": [odd]}
    value = {"metadata": odd, "statuses": [status]}
    entry = json.dumps({"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}).encode()
    detail = json.loads(ENVELOPES.eventbridge(replace(STATUS, entry=entry)).detail)
    assert (detail["originationPhoneNumber"], detail["eventTimestamp"], "errors" in detail) == ("", "", False)


def test_meta_gets_its_own_form_back() -> None:
    assert meta(EVENT) == b'{"object":"whatsapp_business_account","entry":[' + ENTRY + b"]}"


def test_cloudevents_are_named_in_headers() -> None:
    headers = ENVELOPES.cloudevent_headers(replace(EVENT, field="odd\u00e9\n"))
    assert headers == {
        "ce-specversion": "1.0",
        "ce-id": EVENT.message_id,
        "ce-source": ARNS.arn(ARNS.phone_number_id("106540352242922")),
        "ce-type": "whaul.odd%C3%A9%0A.message",
        "ce-time": "2026-11-18T11:06:42.684321000Z",
    }
    account = ENVELOPES.cloudevent_headers(replace(EVENT, meta_phone_number_id=None))["ce-source"]
    assert account == ARNS.arn(ARNS.waba_id("102290129340398"))


MEDIA = replace(EVENT, kind="media", type="stored", field="whaul_media")


@pytest.mark.parametrize(
    ("members", "event", "wanted"),
    [
        ({}, EVENT, True),
        ({}, MEDIA, False),
        ({"fields": {"whaul_media"}}, MEDIA, True),
        ({"fields": {"whaul_media"}}, EVENT, False),
        ({"fields": {"messages", "calls"}, "kinds": {"message"}, "types": {"audio"}}, EVENT, True),
        ({"fields": {"messages"}, "kinds": {"status"}}, EVENT, False),
        ({"types": {"image"}}, EVENT, False),
        ({"meta_phone_number_ids": {"106540352242922"}}, EVENT, True),
        ({"meta_phone_number_ids": {"1"}}, EVENT, False),
        ({"fields": {"messages"}}, replace(EVENT, kind="unparsed"), False),
    ],
)
def test_filters_want_any_of_one_and_all_of_several(members: dict[str, set[str]], event: Event, wanted: bool) -> None:
    assert Filter(**{name: frozenset(values) for name, values in members.items()}).wants(event) is wanted


SECRET = SecretStr("test_app_secret")
BODY = b'{"object":"whatsapp_business_account","entry":[]}'
SIGNATURE = "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"


def test_signatures_of_meta() -> None:
    assert signatures.meta_signature(signatures.meta_key(SECRET), BODY) == SIGNATURE
    digest = signatures.meta_digest(SIGNATURE.encode())
    assert digest is not None
    assert signatures.meta_matches(digest, signatures.meta_key(SECRET), BODY)
    assert not signatures.meta_matches(digest, signatures.meta_key(SECRET), BODY + b" ")
    assert not signatures.meta_matches(digest, signatures.meta_key(SecretStr("other")), BODY)


@pytest.mark.parametrize("header", [None, b"", b"sha256=", b"sha1=" + b"0" * 40, SIGNATURE.upper().encode(), b"0" * 64])
def test_what_is_no_signature(header: bytes | None) -> None:
    assert signatures.meta_digest(header) is None


def test_standard_webhooks() -> None:
    secrets = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), signatures.new_secret()
    headers = signatures.standard_headers(
        [signatures.standard_key(secret) for secret in secrets],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    first, second = headers["webhook-signature"].split(" ")
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert second.startswith("v1,")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "whsec_not base64", "whsec_" + "A" * 200])
def test_secrets_that_cannot_be_used(secret: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        signatures.check_secret(SecretStr(secret))
    found: Any = str(caught.value)
    assert secret not in found

"""The lists of `whaul get`: ids, CSV and JSON, and what is found in Meta's webhooks and in what carries them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from whaul.bulk.lists import MAX_ROW, Lines
from whaul.bulk.names import NameTemplate
from whaul.bulk.places import s3_place
from whaul.bulk.report import Report
from whaul.bulk.wanted import Wanted, moment
from whaul.bulk.webhooks import media_in
from whaul.simulator import simulator_in_thread


def read(text: str, form: str | None = None) -> list[Wanted]:
    lines = Lines(form)
    found = [wanted for line in text.split("\n") for wanted in lines.take(line.encode())]
    return [*found, *lines.end()]


def ids(text: str, form: str | None = None) -> list[str]:
    return [wanted.media_id for wanted in read(text, form)]


# --- CSV


@pytest.mark.parametrize(
    "header",
    [
        "media_id,phone_number_id,file_name,sender",
        "mediaId,phoneNumberId,filename,from",
        "ID,Meta Phone Number ID,Name,wa_id",
        '"media-id","originationPhoneNumberId","name","Sender"',
    ],
)
def test_a_header_says_what_the_columns_are(header: str) -> None:
    assert read(f'{header}\r\n1,5,"a, b.pdf",1555\r\n\r\n2,,,\r\n') == [
        Wanted("1", number="5", file_name="a, b.pdf", sender="1555"),
        Wanted("2"),
    ]


def test_columns_come_in_any_order_and_others_are_ignored() -> None:
    text = "status,name,media_id,timestamp,type\nfailed,x.pdf,1,1700000000,document"
    sent_at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert read(text) == [Wanted("1", file_name="x.pdf", kind="document", sent_at=sent_at)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_without_a_header_the_columns_are_id_number_and_name(delimiter: str) -> None:
    text = delimiter.join(["1", "5", "a.pdf"]) + "\n" + delimiter.join(["2", "6"]) + "\n3"
    assert read(text) == [Wanted("1", number="5", file_name="a.pdf"), Wanted("2", number="6"), Wanted("3")]


def test_one_column_with_a_header_is_csv() -> None:
    assert ids("media_id\n1\n2") == ["1", "2"]


def test_a_value_in_quotation_marks_may_have_lines_and_one_mark_inside_a_value_is_no_quotation() -> None:
    assert read('id,name\n1,"a\nb"\n2,5" screen\n3,"say ""x"""') == [
        Wanted("1", file_name="a\nb"),
        Wanted("2", file_name='5" screen'),
        Wanted("3", file_name='say "x"'),
    ]


def test_a_quotation_that_never_ends_holds_no_more_than_a_row() -> None:
    rows = '1,"open\n' + "2,x\n" * MAX_ROW
    assert len(read(rows, "csv")) > MAX_ROW // 2


# --- JSON


WEBHOOK = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "400000000000001",
            "changes": [
                {
                    "field": "messages",
                    "value": {
                        "messaging_product": "whatsapp",
                        "metadata": {"display_phone_number": "15550100001", "phone_number_id": "500000000000001"},
                        "contacts": [{"profile": {"name": "A"}, "wa_id": "15550100999"}],
                        "messages": [
                            {
                                "from": "15550100999",
                                "id": "wamid.HBg=",
                                "timestamp": "1700000000",
                                "type": "document",
                                "context": {"from": "15550100001", "id": "wamid.X"},
                                "document": {"id": "11", "mime_type": "application/pdf", "filename": "bill.pdf"},
                            },
                            {"from": "15550100999", "id": "wamid.Y", "type": "text", "text": {"body": "hello"}},
                            {"from": "15550100998", "id": "wamid.Z", "type": "audio", "audio": {"id": 12}},
                        ],
                    },
                }
            ],
        },
        {"id": "400000000000001", "changes": [{"value": {"statuses": [{"id": "wamid.S", "status": "read"}]}}]},
    ],
}
SENT_AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
FOUND = [
    Wanted("11", "500000000000001", "bill.pdf", "15550100999", "document", SENT_AT),
    Wanted("12", "500000000000001", None, "15550100998", "audio"),
]
ENTRY = {"context": {"MetaWabaIds": []}, "whatsAppWebhookEntry": json.dumps(WEBHOOK["entry"][0])}


@pytest.mark.parametrize(
    "document",
    [
        WEBHOOK,
        [WEBHOOK],
        WEBHOOK["entry"][0],  # type: ignore[index]
        ENTRY,
        {"Type": "Notification", "Message": json.dumps(ENTRY)},
        {"Messages": [{"MessageId": "1", "Body": json.dumps({"Type": "Notification", "Message": json.dumps(ENTRY)})}]},
        {"Records": [{"Sns": {"Message": json.dumps(ENTRY)}}]},
        {"receivedAt": "…", "body": WEBHOOK},
    ],
    ids=["webhook", "list", "entry", "aws", "sns", "sqs", "lambda", "wrapped"],
)
def test_the_media_of_a_webhook_are_found_with_who_received_them(document: object) -> None:
    assert list(media_in(document)) == FOUND


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"id": "7", "mime_type": "image/jpeg", "sha256": "x"}, Wanted("7")),
        ({"id": 7}, Wanted("7")),
        ({"mediaId": "7", "phoneNumberId": "phone-number-id-1", "status": "failed"}, Wanted("7", "phone-number-id-1")),
        ({"media_id": 7, "phone_number_id": 5, "name": "x.pdf", "from": "1"}, Wanted("7", "5", "x.pdf", "1")),
        (
            {"from": "1", "id": "wamid.A=", "timestamp": "1700000000", "type": "image", "image": {"id": "7"}},
            Wanted("7", sender="1", kind="image", sent_at=SENT_AT),
        ),
    ],
)
def test_a_single_media_or_message_is_found(document: dict[str, Any], wanted: Wanted) -> None:
    assert read(json.dumps(document)) == [wanted]


@pytest.mark.parametrize(
    "document",
    [
        {"id": "wamid.A=", "type": "text", "text": {"body": '{"mediaId": "7"}'}},
        {"id": "wamid.A=", "type": "text", "text": {"body": '{"whatsAppWebhookEntry": {"mediaId": "7"}}'}},
        {"id": "wamid.A=", "status": "delivered"},
        {"id": "400000000000001", "changes": []},
        {"summary": {"stored": 1}},
        {"mediaId": None, "id": True},
        {"Message": "no JSON {"},
        [],
        "7",
        None,
    ],
)
def test_what_is_no_media_is_not_found(document: object) -> None:
    assert list(media_in(document)) == []


def test_what_a_customer_filled_in_names_media_but_not_who_received_them() -> None:
    answer = {
        "phone_number_id": "6",
        "mediaId": "8",
        "photos": [{"id": 9, "mime_type": "image/jpeg", "file_name": "a"}],
    }
    message = {"from": "1", "type": "interactive", "interactive": {"nfm_reply": {"response_json": json.dumps(answer)}}}
    document = {"metadata": {"phone_number_id": "5"}, "messages": [message]}
    assert list(media_in(document)) == [Wanted("9", number="5", file_name="a", sender="1")]


def test_the_simulators_own_webhook_is_read() -> None:
    with simulator_in_thread() as simulator:
        media_id = simulator.add_media(b"x", "application/pdf")
        webhook = simulator.receive(media_id, file_name="bill.pdf", sender="15550100999")
        number = simulator.phone_numbers[0].id
    (found,) = read(json.dumps(webhook))
    assert (found.media_id, found.number, found.file_name) == (media_id, number, "bill.pdf")
    assert (found.sender, found.kind) == ("15550100999", "document")
    assert found.sent_at is not None


@pytest.mark.parametrize("indent", [None, 2])
def test_json_may_be_lines_or_documents_over_many_lines(indent: int | None) -> None:
    text = "\n".join(json.dumps(WEBHOOK, indent=indent) for _ in range(3))
    assert read(text) == FOUND * 3
    assert read(json.dumps([WEBHOOK, WEBHOOK], indent=indent)) == FOUND * 2


def test_the_items_of_an_array_may_have_a_line_each() -> None:
    assert ids('[\n{"id": "1"},\n{"id": "2"}\n]\n') == ["1", "2"]


@pytest.mark.parametrize("between", ["", " ", ", "])
def test_documents_may_follow_each_other_in_one_line(between: str) -> None:
    text = between.join(json.dumps(WEBHOOK) for _ in range(3))
    assert read(text) == FOUND * 3
    *found, wrong = read(text + between + '{"id": 1x}')
    assert (found, wrong.problem is not None) == (FOUND * 3, True)


@pytest.mark.parametrize("broken", ['{"id": "2", "mime', '{"id": "2"', '{"id"= "2"}', '{"a": "}'])
def test_a_document_that_broke_off_fails_alone(broken: str) -> None:
    first, wrong, last = read(f'{{"id": "1"}}\n{broken}\n{{"id": "3"}}')
    assert (first.media_id, last.media_id) == ("1", "3")
    assert wrong.problem is not None


def test_nesting_without_end_is_one_thing_that_cannot_be_read() -> None:
    (wrong,) = read("[" * 100_000 + "]" * 100_000)
    assert wrong.problem is not None
    assert len(wrong.media_id) < 100


def test_a_form_that_is_named_is_not_guessed() -> None:
    assert ids("1,2", "ids") == ["1,2"]
    assert ids("id\n1", "ids") == ["id", "1"]
    assert read('{"id": "1"}', "ids")[0].media_id.startswith("{")
    assert ids("1", "csv") == ["1"]


@pytest.mark.parametrize("text", ["", "x", "99999999999999999999", "2026-13-01", "²"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert moment(text) is None


# --- names


def stem(template: str, **facts: Any) -> str:
    return NameTemplate(template).stem(Wanted("42", **facts), "5")


def test_a_template_is_filled_with_what_the_list_says() -> None:
    known = {"sender": "1555", "file_name": "Bill 1/2.pdf", "kind": "document", "sent_at": SENT_AT}
    template = "{yyyy}-{mm}/day={dd}/{number}/{type}/{sender}_{name}_{media}{ext}"
    assert stem(template, **known) == "2023-11/day=14/5/document/1555_Bill_1_2_42"
    assert stem("{yyyy}/{mm}/{dd}/{sender}/{name}/{media}{ext}") == "/".join(["unknown"] * 5) + "/42"


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".hidden", "-rf", "a\0b\n", "/root", "é/ü", "x" * 1000])
def test_what_others_wrote_never_leaves_its_folder(name: str) -> None:
    for part in stem("{name}/{sender}-{media}{ext}", file_name=name, sender=name).split("/"):
        assert part[0].isalnum() or part[0] == "_"
        assert len(part) < 210
        assert part not in {".", ".."}


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{ext}", "{media}"),
        ("{media}", "{ext}"),
        ("{media}{ext}x", "{ext}"),
        ("{media}{ext}{ext}", "{ext}"),
        ("{when}-{media}{ext}", "{when}"),
        ("{}-{media}{ext}", "{}"),
        ("{media.__class__}{media}{ext}", "letters"),
        ("a b {media}{ext}", "letters"),
        ("/{media}{ext}", "begin"),
        ("a//{media}{ext}", "begin"),
        ("../{media}{ext}", "begin"),
        ("a/.{media}{ext}", "begin"),
        ("", "{media}"),
    ],
)
def test_a_template_that_cannot_be_says_why(template: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("{", r"\{")):
        NameTemplate(template)


# --- places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/a/b_", ("bucket", "a/b_")),
        ("S3://bucket/a", ("bucket", "a")),
        ("photos", None),
        ("./s3:/bucket", None),
        ("/var/media", None),
        ("2026-11-28T10:30", None),
        ("a:b", None),
        ("s3", None),
    ],
)
def test_a_place_is_a_bucket_or_a_folder(text: str, place: tuple[str, str] | None) -> None:
    assert s3_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *("s3:/bucket/x", "s3:bucket", "s3:", "s3:///x", "s3://B/x", "S3:/bucket/x", "s3a://bucket/x", "s3n:/b/x"),
        *("gs://bucket/x", "gs:/bucket/x", "GS:bucket", "az://x/y", "abc:/x", "file:///tmp/x", "file:/tmp/x", "file:x"),
        *("https://bucket.s3.amazonaws.com/x", "http:/x", "a b://x", "://x", "", "s3://bucket/../x"),
    ],
)
def test_what_looks_like_a_store_is_never_a_folder(text: str) -> None:
    with pytest.raises(ValueError, match=r"s3://|folder|segment"):
        s3_place(text)


# --- report


def test_a_report_holds_nothing_that_a_spreadsheet_computes(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "out.csv"))
    error = {"code": "ValidationException", "message": 'A, "b"', "mayPass": False}
    report.write({"mediaId": "=cmd()", "status": "failed", "error": error})
    report.write({"mediaId": "1", "status": "stored", "bucket": "b", "key": "a/1.jpeg", "fileSize": 3})
    report.close()
    header, failed, stored = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("mediaId,status,phoneNumberId,location,")
    assert failed == '\'=cmd(),failed,,,,,,ValidationException,"A, ""b""",false'
    assert stored == "1,stored,,s3://b/a/1.jpeg,3,,,,,"


def test_a_report_is_read_again_as_a_list(tmp_path: Path) -> None:
    for name in ("out.csv", "out.jsonl"):
        report = Report(str(tmp_path / name))
        report.write({"mediaId": "7", "status": "failed", "phoneNumberId": "phone-number-id-1"})
        report.close()
        assert read((tmp_path / name).read_text(encoding="utf-8")) == [Wanted("7", number="phone-number-id-1")]

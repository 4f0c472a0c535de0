"""The operations on message templates with boto3: their lives, and what callers of such APIs fall over."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from harness.receiver import receiving
from harness.store import BUCKET, Store
from harness.world import Gateway
from whaul.simulator import Simulator
from whaul.simulator.state import OTHER_WABA_ID

TEXT = {"type": "BODY", "text": "Your order {{1}} has left our harbour.", "example": {"body_text": [["#1"]]}}
DAY = 24 * 3600


@pytest.fixture
def waba(gateway: Gateway) -> str:
    return str(gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["id"])


class Templates:
    """Calls about templates of the linked account."""

    def __init__(self, gateway: Gateway, simulator: Simulator, waba: str) -> None:
        self.client = gateway.client()
        self.simulator = simulator
        self.waba = waba

    def create(self, name: str = "order_left", **members: Any) -> Any:
        new = {"name": name, "category": "UTILITY", "language": "en_US", "components": [TEXT]} | members
        return self.raw(json.dumps(new, ensure_ascii=False).encode())

    def raw(self, definition: bytes) -> Any:
        return self.client.create_whatsapp_message_template(id=self.waba, templateDefinition=definition)

    def get(self, **members: Any) -> Any:
        return json.loads(self.client.get_whatsapp_message_template(id=self.waba, **members)["template"])

    def list(self) -> list[Any]:
        pages = self.client.get_paginator("list_whatsapp_message_templates").paginate(id=self.waba)
        return [template for page in pages for template in page["templates"]]

    def update(self, **members: Any) -> None:
        self.client.update_whatsapp_message_template(id=self.waba, **members)

    def delete(self, name: str, **members: Any) -> None:
        self.client.delete_whatsapp_message_template(id=self.waba, templateName=name, **members)

    def refuses(self, said: str | None = None, code: str = "InvalidParametersException") -> Any:
        return pytest.raises(getattr(self.client.exceptions, code), match=said)


@pytest.fixture
def templates(gateway: Gateway, simulator: Simulator, waba: str) -> Templates:
    return Templates(gateway, simulator, waba)


# --- a life


def test_a_template_is_created_reviewed_changed_and_deleted(templates: Templates) -> None:
    made = templates.create(message_send_ttl_seconds=60)
    assert (made["templateStatus"], made["category"]) == ("PENDING", "UTILITY")
    found = templates.get(metaTemplateId=made["metaTemplateId"])
    assert (found["status"], found["rejected_reason"], found["components"]) == ("APPROVED", "NONE", [TEXT])
    assert (found["message_send_ttl_seconds"], found["quality_score"]["score"]) == (60, "UNKNOWN")
    assert templates.get(templateName="order_left", templateLanguageCode="en_US") == found
    other = TEXT | {"text": "Your order {{1}} is at your door now."}
    templates.update(
        metaTemplateId=made["metaTemplateId"],
        templateComponents=json.dumps([other]).encode(),
        ctaUrlLinkTrackingOptedOut=True,
    )
    found = templates.get(metaTemplateId=made["metaTemplateId"])
    assert (found["components"], found["cta_url_link_tracking_opted_out"]) == ([other], True)
    with templates.refuses("Meta refuses a parameter"):  # once a day
        templates.update(metaTemplateId=made["metaTemplateId"], parameterFormat="positional")
    templates.delete("order_left", metaTemplateId=made["metaTemplateId"])
    assert templates.list() == []
    with templates.refuses("blocked for 30 days"):
        templates.create()


@pytest.mark.parametrize("definition", [b"x", b"[]", b'"a"', b"\xff", b"{"])
def test_what_is_no_definition_is_refused_before_meta_sees_it(templates: Templates, definition: bytes) -> None:
    with templates.refuses("templateDefinition must be a JSON object"):
        templates.raw(definition)


def test_templates_are_told_of_by_webhooks_without_a_number(templates: Templates, simulator: Simulator) -> None:
    with receiving() as receiver:
        simulator.set_webhook(receiver.url)
        try:
            templates.create("promo_of_orders")
            posts = receiver.wait(2)
            id_ = next(iter(simulator.state.templates))
            simulator.templates.change(id_, quality="RED")
            posts = receiver.wait(4)
        finally:
            simulator.set_webhook(None)
    changes = [post.json()["entry"][0]["changes"][0] for post in posts]
    fields = [change["field"] for change in changes]
    assert sorted(fields) == [
        "message_template_quality_update",
        "message_template_status_update",
        "message_template_status_update",
        "template_category_update",
    ]
    approved = next(change["value"] for change in changes if change["value"].get("event") == "APPROVED")
    assert (approved["message_template_id"], approved["message_template_language"]) == (int(id_), "en-US")
    assert "metadata" not in approved
    paused = next(change["value"] for change in changes if change["value"].get("event") == "PAUSED")
    assert paused["other_info"]["title"] == "FIRST_PAUSE"


# --- traps of creating


def test_meta_s_category_is_told_and_not_the_caller_s(templates: Templates) -> None:
    id_ = templates.create("promo_of_orders")["metaTemplateId"]
    assert templates.get(metaTemplateId=id_)["category"] == "MARKETING"
    (listed,) = templates.list()
    assert listed["templateCategory"] == "MARKETING"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"category": "TRANSACTIONAL"}, "compare it with what Meta documents"),  # an old one
        ({"components": [TEXT | {"example": {"body_text": ["#1"]}}]}, "compare it"),  # no list of lists
        ({"components": [TEXT | {"text": "{{1}} has left our harbour."}]}, "at the beginning or at the end"),
        ({"components": [TEXT | {"text": "Left {{1}} {{2}} now."}]}, "too many variables"),
        ({"components": [TEXT | {"text": "x" * 1025}]}, "too long"),
        ({"components": [{"type": "HEADER"}, TEXT]}, "header is not of the form"),
        ({"components": [TEXT, {"type": "FOOTER", "text": "By {{1}}"}]}, "footer is not of the form"),
        ({"components": [{"type": "BODY"}]}, "body is not of the form"),
        (
            {
                "components": [
                    {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["https://example.com/a.png"]}},
                    TEXT,
                ]
            },
            "CreateWhatsAppMessageTemplateMedia",
        ),
    ],
)
def test_what_meta_refuses_is_said_in_our_words_and_not_in_the_owner_s_language(
    templates: Templates, members: dict[str, Any], said: str
) -> None:
    with templates.refuses(said) as caught:
        templates.create(**members)
    assert "Tu plantilla" not in str(caught.value)
    assert templates.list() == []


def test_a_name_that_exists_is_told_from_one_that_is_being_deleted(templates: Templates, simulator: Simulator) -> None:
    id_ = templates.create()["metaTemplateId"]
    with templates.refuses("in this language already"):
        templates.create()
    templates.get(metaTemplateId=id_)
    templates.delete("order_left", deleteAllLanguages=True)
    with templates.refuses("blocked for 30 days"):
        templates.create()
    simulator.advance(30 * DAY)
    templates.create()


def test_as_many_templates_as_meta_allows(templates: Templates, simulator: Simulator) -> None:
    simulator.configure(max_templates=0)
    try:
        with templates.refuses("as many templates"):
            templates.create()
    finally:
        simulator.configure(max_templates=250)


def test_a_rejected_template_blocks_its_name_and_language_until_it_is_edited(templates: Templates) -> None:
    id_ = templates.create("reject_me")["metaTemplateId"]
    assert templates.get(metaTemplateId=id_)["rejected_reason"] == "INCORRECT_CATEGORY"
    with templates.refuses("in this language already"):
        templates.create("reject_me")
    templates.update(metaTemplateId=id_, templateCategory="MARKETING")
    assert templates.get(metaTemplateId=id_)["category"] == "MARKETING"


def test_named_variables_without_their_format_are_taken_and_then_rejected(templates: Templates) -> None:
    named = {"type": "BODY", "text": "Your order {{order}} has left our harbour."}
    positional = named | {"example": {"body_text": [["#1"]]}}
    id_ = templates.create("one", components=[positional])["metaTemplateId"]
    assert templates.get(metaTemplateId=id_)["status"] == "REJECTED"
    right = named | {"example": {"body_text_named_params": [{"param_name": "order", "example": "#1"}]}}
    id_ = templates.create("two", components=[right], parameter_format="named")["metaTemplateId"]
    found = templates.get(metaTemplateId=id_)
    assert (found["status"], found["parameter_format"]) == ("APPROVED", "NAMED")


def test_a_template_is_created_once_although_its_answer_is_lost(templates: Templates, simulator: Simulator) -> None:
    simulator.fault(simulator.waba_id, kind="truncate", hop="settings", times=1)
    with templates.refuses("not known", "DependencyException"):
        templates.create()
    assert len(templates.list()) == 1


# --- traps of reading


def test_one_name_in_two_languages_is_two_templates(templates: Templates) -> None:
    ids = {language: templates.create(language=language)["metaTemplateId"] for language in ("en", "en_US", "es")}
    assert len(set(ids.values())) == 3
    for language, id_ in ids.items():
        assert templates.get(templateName="order_left", templateLanguageCode=language)["id"] == id_
    with templates.refuses("no template with this name and language", "ResourceNotFoundException"):
        templates.get(templateName="order_left", templateLanguageCode="de")


def test_a_name_is_not_found_by_a_part_of_it(templates: Templates) -> None:
    templates.create("order_left_again")
    with templates.refuses(code="ResourceNotFoundException"):
        templates.get(templateName="order_left", templateLanguageCode="en_US")


def test_all_templates_are_seen_and_not_only_the_first_page(templates: Templates) -> None:
    for number in range(30):
        templates.create(f"order_{number}")
    assert len(templates.list()) == 30
    page = templates.client.list_whatsapp_message_templates(id=templates.waba)
    assert (len(page["templates"]), page.get("nextToken")) == (30, None)  # not Meta's 25
    page = templates.client.list_whatsapp_message_templates(id=templates.waba, maxResults=20)
    assert len(page["templates"]) == 20
    page = templates.client.list_whatsapp_message_templates(id=templates.waba, nextToken=page["nextToken"])
    assert len(page["templates"]) == 10


def test_a_status_that_nobody_knows_hides_no_template(templates: Templates, simulator: Simulator) -> None:
    id_ = templates.create()["metaTemplateId"]
    simulator.state.templates[id_].status = "FROZEN_BY_METEORITE"  # type: ignore[assignment]
    simulator.state.templates[id_].correct_category = "MARKETING"
    (listed,) = templates.list()
    assert listed == {
        "templateName": "order_left",
        "metaTemplateId": id_,
        "templateStatus": "FROZEN_BY_METEORITE",
        "templateQualityScore": "UNKNOWN",
        "templateLanguage": "en_US",
        "templateCategory": "UTILITY",
        "correctCategory": "MARKETING",
    }


@pytest.mark.parametrize("members", [{}, {"templateName": "a"}, {"templateLanguageCode": "en"}])
def test_a_template_is_named_by_id_or_by_name_and_language(templates: Templates, members: dict[str, str]) -> None:
    with templates.refuses("both templateName and templateLanguageCode"):
        templates.get(**members)
    with templates.refuses("both templateName and templateLanguageCode"):
        templates.update(templateCategory="MARKETING", **members)


def test_a_caller_s_own_names_of_members_are_refused_by_boto3(templates: Templates) -> None:
    with pytest.raises(ParamValidationError, match="originationPhoneNumberId"):
        templates.client.create_whatsapp_message_template_media(id=templates.waba, originationPhoneNumberId="1")
    with pytest.raises(ParamValidationError, match="category"):
        templates.update(metaTemplateId="1", category="MARKETING")


# --- traps of changing and deleting


def test_a_change_needs_something_to_change_and_components_a_list(templates: Templates) -> None:
    id_ = templates.create()["metaTemplateId"]
    with templates.refuses("at least one of"):
        templates.update(metaTemplateId=id_)
    with templates.refuses("templateComponents must be a JSON list"):
        templates.update(metaTemplateId=id_, templateComponents=b"{}")


def test_a_template_is_changed_by_its_name_and_language(templates: Templates) -> None:
    templates.create("reject_me", language="en")
    templates.create("reject_me", language="es")
    templates.list()
    templates.update(templateName="reject_me", templateLanguageCode="es", templateCategory="MARKETING")
    categories = {one["templateLanguage"]: one["templateCategory"] for one in templates.list()}
    assert categories == {"en": "UTILITY", "es": "MARKETING"}


def test_a_deletion_says_whether_it_is_of_one_language_or_of_all(templates: Templates) -> None:
    ids = {language: templates.create(language=language)["metaTemplateId"] for language in ("en", "es", "de")}
    for members in ({}, {"deleteAllLanguages": False}, {"metaTemplateId": ids["en"], "deleteAllLanguages": True}):
        with templates.refuses("deleteAllLanguages=true"):
            templates.delete("order_left", **members)
    templates.delete("order_left", metaTemplateId=ids["es"])
    assert {one["templateLanguage"] for one in templates.list()} == {"en", "de"}
    templates.delete("order_left", deleteAllLanguages=True)
    assert templates.list() == []
    with templates.refuses(code="ResourceNotFoundException"):
        templates.delete("order_left", deleteAllLanguages=True)


def test_a_deletion_is_done_although_its_answer_is_lost(templates: Templates, simulator: Simulator) -> None:
    templates.create()
    simulator.fault(simulator.waba_id, kind="truncate", hop="delete", times=1)
    templates.delete("order_left", deleteAllLanguages=True)
    assert templates.list() == []


def test_no_call_reaches_a_template_of_another_account(templates: Templates, simulator: Simulator) -> None:
    id_ = templates.create()["metaTemplateId"]
    simulator.state.templates["987"] = stranger = type(simulator.state.templates[id_])(
        id="987", waba_id=OTHER_WABA_ID, name="theirs", language="en_US", category="UTILITY", components=[TEXT]
    )
    for act in (templates.get, lambda **of: templates.update(templateCategory="MARKETING", **of)):
        with templates.refuses("no template with this id", "ResourceNotFoundException"):
            act(metaTemplateId="987")
    with templates.refuses(code="ResourceNotFoundException"):
        templates.delete("theirs", metaTemplateId="987")
    assert (stranger.category, "987" in simulator.state.templates) == ("UTILITY", True)


def test_a_paused_template_is_not_sent_and_comes_back_by_itself(
    gateway: Gateway, templates: Templates, simulator: Simulator
) -> None:
    id_ = templates.create()["metaTemplateId"]
    templates.get(metaTemplateId=id_)
    simulator.templates.change(id_, quality="RED")

    def send(language: str = "en_US") -> None:
        template = {"name": "order_left", "language": {"code": language}}
        message = {"messaging_product": "whatsapp", "to": "15550100", "type": "template", "template": template}
        gateway.client().send_whatsapp_message(
            originationPhoneNumberId=gateway.world.phone_number_id,
            metaApiVersion="v25.0",
            message=json.dumps(message).encode(),
        )

    with templates.refuses("code 132015.*has paused the template", "DependencyException"):
        send()
    with templates.refuses("code 132001.*in this language", "DependencyException"):  # `en` is another template
        send("en")
    simulator.advance(3 * 3600)
    assert templates.get(metaTemplateId=id_)["status"] == "APPROVED"
    send()


# --- the library


def test_the_library_is_filtered_as_aws_names_it(templates: Templates) -> None:
    def found(**filters: str) -> set[str]:
        pages = templates.client.get_paginator("list_whatsapp_template_library").paginate(
            id=templates.waba, filters=filters, PaginationConfig={"PageSize": 2}
        )
        return {one["templateName"] for page in pages for one in page["metaLibraryTemplates"]}

    assert len(found()) == 9
    assert found(topic="PAYMENTS") == {"payment_received", "payment_due"}
    assert found(searchKey="pedido", language="es") == {"delivery_update_1"}
    assert found(usecase="FEEDBACK_SURVEY", industry="E_COMMERCE") == {"feedback_survey"}
    with templates.refuses("filters takes"):
        found(colour="blue")
    page = templates.client.list_whatsapp_template_library(
        id=templates.waba, filters={"searchKey": "delivery", "language": "en_US"}
    )
    (one,) = page["metaLibraryTemplates"]
    assert (one["templateTopic"], one["templateHeader"]) == ("ORDER_MANAGEMENT", "On its way")
    assert one["templateBodyExampleParams"] == ["Ana", "#1234"]
    assert one["templateButtons"][1] == {"type": "PHONE_NUMBER", "text": "Call", "phoneNumber": "+15550100"}
    page = templates.client.list_whatsapp_template_library(id=templates.waba, filters={"topic": "PAYMENTS"})
    assert all("templateHeader" not in one for one in page["metaLibraryTemplates"])


@pytest.mark.parametrize("spelling", ["snake", "camel"])
def test_a_template_of_the_library_is_approved_at_once(templates: Templates, spelling: str) -> None:
    url = {"base_url": "https://example.com/{{1}}", "url_suffix_example": "https://example.com/1"}
    if spelling == "camel":
        url = {"baseUrl": url["base_url"], "urlSuffixExample": url["url_suffix_example"]}
    new = {
        "templateName": "delivery_now",
        "libraryTemplateName": "delivery_update_1",
        "templateCategory": "UTILITY",
        "templateLanguage": "en_US",
    }
    client = templates.client
    with templates.refuses("compare it with what Meta documents"):  # it has buttons
        client.create_whatsapp_message_template_from_library(id=templates.waba, metaLibraryTemplate=new)
    made = client.create_whatsapp_message_template_from_library(
        id=templates.waba,
        metaLibraryTemplate=new
        | {
            "libraryTemplateButtonInputs": [{"type": "URL", "url": url}, {"type": "CALL", "phoneNumber": "+15550100"}],
            "libraryTemplateBodyInputs": {"addTrackPackageLink": True},
        },
    )
    assert (made["templateStatus"], made["category"]) == ("APPROVED", "UTILITY")
    assert templates.get(metaTemplateId=made["metaTemplateId"])["library_template_name"] == "delivery_update_1"


# --- media of headers


def image(store: Store, prefix: str, mime_type: str = "image/png", body: bytes = b"\x89PNG picture") -> dict[str, str]:
    store.client.put_object(Bucket=BUCKET, Key=f"{prefix}header", Body=body, ContentType=mime_type)
    return {"bucketName": BUCKET, "key": f"{prefix}header"}


def test_a_file_of_the_bucket_becomes_the_example_of_a_header(
    templates: Templates, simulator: Simulator, store: Store, prefix: str
) -> None:
    client = templates.client
    source = image(store, prefix, body=b"x" * 300_000)
    handle = client.create_whatsapp_message_template_media(id=templates.waba, sourceS3File=source)["metaHeaderHandle"]
    assert simulator.state.handles[handle] == simulator.apps[0].id
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [handle]}}
    assert templates.create(components=[header, TEXT])["templateStatus"] == "PENDING"


def test_meta_is_asked_whose_app_a_token_is_of_when_that_is_not_known(
    gateway: Gateway, templates: Templates, simulator: Simulator, store: Store, prefix: str
) -> None:
    def note(app_id: str | None) -> None:
        with closing(
            sqlite3.connect(gateway.world.environ["WHAUL_DATABASE_URL"].removeprefix("sqlite:///"))
        ) as database:
            database.execute("UPDATE accounts SET app_id = ?", (app_id,))
            database.commit()

    note(None)
    try:
        source = image(store, prefix)
        made = templates.client.create_whatsapp_message_template_media(id=templates.waba, sourceS3File=source)
    finally:
        note(simulator.apps[0].id)
    assert simulator.state.handles[made["metaHeaderHandle"]] == simulator.apps[0].id
    assert simulator.count("debug_token")["metadata"] == 1


def test_a_session_that_breaks_off_is_begun_again(
    templates: Templates, simulator: Simulator, store: Store, prefix: str
) -> None:
    simulator.fault("*", kind="error", code=2, status=503, hop="settings", times=2)
    source = image(store, prefix, "image/JPG; name=header")
    assert templates.client.create_whatsapp_message_template_media(id=templates.waba, sourceS3File=source)[
        "metaHeaderHandle"
    ]


def test_a_source_that_cannot_be_a_header_is_refused_before_meta_sees_it(
    gateway: Gateway, templates: Templates, store: Store, prefix: str
) -> None:
    client = templates.client
    with templates.refuses("Give sourceS3File"):
        client.create_whatsapp_message_template_media(id=templates.waba)
    with templates.refuses("one of: application/pdf, image/jpeg, image/jpg, image/png, video/mp4"):
        source = image(store, prefix, "audio/ogg")
        client.create_whatsapp_message_template_media(id=templates.waba, sourceS3File=source)
    statement = {"Effect": "Allow", "Action": "social-messaging:*", "Resource": "*"}
    reader = gateway.client(gateway.world.key_with_policy(statement))
    with pytest.raises(reader.exceptions.AccessDeniedException, match="s3:GetObject"):
        reader.create_whatsapp_message_template_media(id=templates.waba, sourceS3File=image(store, prefix))

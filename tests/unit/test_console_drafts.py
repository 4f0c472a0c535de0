"""Messages of the console's form, as Meta's API wants them."""

from typing import Any

import pytest

from whaul.console.drafts import DraftError, Template, message

SHOP = {
    "id": "9",
    "name": "order_left",
    "language": "en_US",
    "components": [
        {"type": "HEADER", "format": "IMAGE"},
        {"type": "BODY", "text": "Hi {{1}}, {{2}} has left. Thanks, {{1}}!"},
        {"type": "FOOTER", "text": "Shop"},
        {
            "type": "BUTTONS",
            "buttons": [
                {"type": "QUICK_REPLY", "text": "Stop"},
                {"type": "URL", "text": "Track", "url": "https://shop.example/{{1}}"},
                {"type": "URL", "text": "Home", "url": "https://shop.example/"},
                {"type": "COPY_CODE", "text": "Copy"},
            ],
        },
    ],
}

PLACE = {"latitude": "52.5163", "longitude": "-13.3777", "name": "Gate", "address": "Pariser Platz, Berlin"}


@pytest.mark.parametrize(
    ("kind", "given", "content"),
    [
        ("text", {"text": "a\r\nb"}, {"body": "a\nb"}),
        ("text", {"text": "https://a.example", "preview_url": "1"}, {"body": "https://a.example", "preview_url": True}),
        ("image", {"media": " 123 ", "caption": "x"}, {"id": "123", "caption": "x"}),
        ("audio", {"media": "https://a.example/b", "caption": "x"}, {"link": "https://a.example/b"}),
        ("document", {"media": "1", "filename": "a.pdf"}, {"id": "1", "filename": "a.pdf"}),
        ("reaction", {"reaction_to": "wamid.1", "emoji": ""}, {"message_id": "wamid.1", "emoji": ""}),
    ],
)
def test_a_kind_has_its_content(kind: str, given: dict[str, str], content: dict[str, Any]) -> None:
    start = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": "49", "type": kind}
    assert message(kind, {"to": "49", **given}) == {**start, kind: content}
    reply = message(kind, {"to": "49", "reply_to": "wamid.2", **given})
    assert reply["context"] == {"message_id": "wamid.2"}


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("text", {"text": "x"}, "to whom"),
        ("text", {"to": "1", "text": " "}, "Write a text"),
        ("video", {"to": "1"}, "Name a file"),
        ("reaction", {"to": "1"}, "which message"),
        ("template", {"to": "1"}, "Choose a template"),
        ("json", {"json": "{"}, "not JSON: "),
        ("json", {"json": "[" * 100_000}, "not JSON"),
        ("json", {"json": "[]"}, "a JSON object"),
    ],
)
def test_what_is_missing_is_said(kind: str, given: dict[str, str], told: str) -> None:
    with pytest.raises(DraftError, match=told):
        message(kind, given)


def test_a_template_asks_for_its_parameters_and_gets_them() -> None:
    template = Template(SHOP)
    names = [each.name for each in template.parameters]
    assert names == ["header", "body-1", "body-2", "button-1", "button-3"]
    assert "Hi {{1}}" in template.says
    assert template.beyond == []
    given = {"to": "49", "header": "7", "body-1": "Ann", "body-2": "5", "button-1": "o/5", "button-3": "SAVE"}
    assert message("template", given, template)["template"] == {
        "name": "order_left",
        "language": {"code": "en_US"},
        "components": [
            {"type": "header", "parameters": [{"type": "image", "image": {"id": "7"}}]},
            {"type": "body", "parameters": [{"type": "text", "text": "Ann"}, {"type": "text", "text": "5"}]},
            {"type": "button", "sub_type": "url", "index": "1", "parameters": [{"type": "text", "text": "o/5"}]},
            {
                "type": "button",
                "sub_type": "copy_code",
                "index": "3",
                "parameters": [{"type": "coupon_code", "coupon_code": "SAVE"}],
            },
        ],
    }
    with pytest.raises(DraftError, match=r"Body: \{\{2\}\}"):
        message("template", given | {"body-2": " "}, template)


def test_named_parameters_are_named() -> None:
    template = Template(
        {
            "name": "a",
            "language": "de",
            "parameter_format": "NAMED",
            "components": [{"type": "BODY", "text": "{{who}}"}],
        }
    )
    [component] = message("template", {"to": "1", "body-who": "Ann"}, template)["template"]["components"]
    assert component["parameters"] == [{"type": "text", "parameter_name": "who", "text": "Ann"}]


@pytest.mark.parametrize(
    "strange",
    [None, [], {}, {"components": {"a": 1}}, {"components": [3, {"type": 7, "text": []}, {"type": "BUTTONS"}]}],
)
def test_a_template_of_another_shape_asks_for_nothing(strange: Any) -> None:
    assert Template(strange).parameters == []


def test_a_map_has_its_place() -> None:
    template = Template({"name": "a", "language": "de", "components": [{"type": "HEADER", "format": "LOCATION"}]})
    assert template.beyond == []
    assert [each.name for each in template.parameters] == [f"header-{name}" for name in PLACE]
    given = {"to": "1"} | {f"header-{name}": f" {value} " for name, value in PLACE.items()}
    [component] = message("template", given, template)["template"]["components"]
    assert component == {"type": "header", "parameters": [{"type": "location", "location": PLACE}]}
    for name, wrong in [("latitude", "52,5"), ("latitude", "90.1"), ("longitude", "east"), ("longitude", "-181")]:
        with pytest.raises(DraftError, match=f"Write the {name} as a number"):
            message("template", given | {f"header-{name}": wrong}, template)
    for name in PLACE:
        with pytest.raises(DraftError, match=f"wants a value: Header: {name}"):
            message("template", given | {f"header-{name}": " "}, template)


def test_parts_that_the_form_does_not_know_are_told() -> None:
    template = Template({"components": [{"type": "HEADER", "format": "PRODUCT"}, {"type": "CAROUSEL", "cards": []}]})
    assert template.beyond == ["CAROUSEL", "PRODUCT"]

"""Meta's objects in AWS's words: what is asked, what may come, and what it becomes."""

import json
from typing import Any

import msgspec
import pytest

from whaul.api.service import SHAPES
from whaul.operations.calls import PERMISSION
from whaul.operations.translation import document, fields, meta_type

HEALTH = meta_type("MetaFlowHealthStatus")
VALIDATED = meta_type("UpdateWhatsAppFlowAssetsOutput", types={"MetaFlowValidationError": msgspec.Raw})
NAMED = meta_type(
    "MetaFlowWhatsAppBusinessAccountInfo",
    names={"id": "waba_id"},
    defaults={"WhatsAppBusinessAccountName": ""},
)


def translated(kind: Any, found: Any) -> Any:
    return document(msgspec.json.decode(json.dumps(found), type=kind))


def test_names_are_those_of_the_model_in_snake_case_or_as_told() -> None:
    assert fields(HEALTH) == "can_send_message,entities"
    assert set(fields(NAMED).split(",")) == {
        "waba_id",
        "name",
        "currency",
        "timezone_id",
        "message_template_namespace",
    }


@pytest.mark.parametrize(
    ("kind", "found", "expected"),
    [
        (HEALTH, {"can_send_message": "BLOCKED", "new": 1}, {"canSendMessage": "BLOCKED"}),
        (HEALTH, {"can_send_message": "x", "entities": None}, {"canSendMessage": "x"}),
        (
            HEALTH,
            {"can_send_message": "x", "entities": [{"id": "1", "entity_type": "APP", "can_send_message": "y"}]},
            {"canSendMessage": "x", "entities": [{"id": "1", "entityType": "APP", "canSendMessage": "y"}]},
        ),
        (NAMED, {"waba_id": "1"}, {"id": "1", "name": ""}),
        (NAMED, {"waba_id": "1", "name": None}, {"id": "1", "name": ""}),
        (
            PERMISSION,
            {
                "permission": {"status": "x"},
                "actions": [{"action_name": "y", "can_perform_action": True, "limits": None}],
            },
            {"permission": {"status": "x"}, "actions": [{"actionName": "y", "canPerformAction": True, "limits": []}]},
        ),
        (PERMISSION, {"permission": {"status": "x"}, "actions": None}, {"permission": {"status": "x"}, "actions": []}),
        (
            NAMED,
            {"waba_id": "1", "name": "A", "timezone_id": "7", "currency": "EUR"},
            {"id": "1", "name": "A", "timezoneId": "7", "currency": "EUR"},
        ),
        (
            VALIDATED,
            {"validation_errors": [{"a_b": [1, "\u00fc"]}, "x"]},
            {"validationErrors": ['{"a_b":[1,"\\u00fc"]}', '"x"']},
        ),
    ],
)
def test_an_object_is_written_as_aws_does(kind: Any, found: Any, expected: Any) -> None:
    assert translated(kind, found) == expected


@pytest.mark.parametrize(
    "found", [{}, {"can_send_message": None}, {"can_send_message": 1}, {"can_send_message": "x", "entities": [{}]}, []]
)
def test_what_is_not_documented_is_no_object(found: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        translated(HEALTH, found)


@pytest.mark.parametrize("name", [name for name in SHAPES if name.startswith("Get") and name.endswith("Output")])
def test_every_response_of_one_object_has_a_type(name: str) -> None:
    kinds = {shape: Any for shape, fact in SHAPES.items() if fact.type in {"map", "blob", "timestamp"}}
    assert set(meta_type(name, types=kinds).__struct_fields__) == set(SHAPES[name].members)

"""What holds for every operation of the model: who may not, on what is not linked, and when Meta refuses.

What each does is shown by the tests of its family.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.store import BUCKET, Store
from harness.world import Gateway, Key
from whaul.api.service import OPERATIONS
from whaul.operations.call import TARGETS, target_of
from whaul.simulator import Simulator

FILE = "of-all-operations.png"
EVENT = {"event_name": "Purchase", "event_time": 1, "user_data": {}}
MESSAGE = {"messaging_product": "whatsapp", "to": "15550100099", "text": {"body": "Hello"}}
TEMPLATE = {"name": "hello", "category": "UTILITY", "language": "en_US", "components": []}
FROM_LIBRARY = {
    "templateName": "hello",
    "libraryTemplateName": "order_update",
    "templateCategory": "UTILITY",
    "templateLanguage": "en_US",
}
CALL = {"messaging_product": "whatsapp", "action": "terminate", "call_id": "wacid.1"}
SOURCE = {"sourceS3File": {"bucketName": BUCKET, "key": FILE}}
PEM = RSAPublicNumbers(65537, 2**2048 - 1).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


ON_ACCOUNT: dict[str, dict[str, Any]] = {
    "CreateWhatsAppDataset": {},
    "CreateWhatsAppFlow": {"flowName": "Survey", "categories": ["SURVEY"]},
    "CreateWhatsAppMessageTemplate": {"templateDefinition": raw(TEMPLATE)},
    "CreateWhatsAppMessageTemplateFromLibrary": {"metaLibraryTemplate": FROM_LIBRARY},
    "CreateWhatsAppMessageTemplateMedia": SOURCE,
    "DeleteWhatsAppFlow": {"flowId": "7"},
    "DeleteWhatsAppMessageTemplate": {"templateName": "hello", "metaTemplateId": "7"},
    "DeprecateWhatsAppFlow": {"flowId": "7"},
    "GetWhatsAppFlow": {"flowId": "7"},
    "GetWhatsAppFlowPreview": {"flowId": "7"},
    "GetWhatsAppMessageTemplate": {"metaTemplateId": "7"},
    "ListWhatsAppFlowAssets": {"flowId": "7"},
    "ListWhatsAppFlows": {},
    "ListWhatsAppMessageTemplates": {},
    "ListWhatsAppTemplateLibrary": {},
    "PublishWhatsAppFlow": {"flowId": "7"},
    "SendWhatsAppConversionEvent": {"datasetId": "1234567890", "eventData": raw(EVENT)},
    "UpdateWhatsAppFlow": {"flowId": "7", "flowName": "Survey"},
    "UpdateWhatsAppFlowAssets": {"flowId": "7", "flowJson": b"{}"},
    "UpdateWhatsAppMessageTemplate": {"metaTemplateId": "7", "templateCategory": "UTILITY"},
}
ON_NUMBER: dict[str, dict[str, Any]] = {
    "DeleteWhatsAppMessageMedia": {"mediaId": "7"},
    "GetWhatsAppBusinessPublicKey": {},
    "GetWhatsAppCallPermission": {"destinationPhoneNumber": "+15550100099"},
    "GetWhatsAppMessageMedia": {"mediaId": "7", "destinationS3File": {"bucketName": BUCKET, "key": ""}},
    "PostWhatsAppMessageMedia": SOURCE,
    "PutWhatsAppBusinessPublicKey": {"businessPublicKey": PEM.decode()},
    "SendWhatsAppCallEvent": {"metaApiVersion": "v25.0", "callEvent": raw(CALL)},
    "SendWhatsAppMessage": {"metaApiVersion": "v25.0", "message": raw(MESSAGE)},
    "UpdateLinkedWhatsAppBusinessAccountPhoneNumber": {"callSettings": {"callEnabled": True}},
}
OF_OURS: dict[str, dict[str, Any]] = {
    "AssociateWhatsAppBusinessAccount": {"signupCallback": {"accessToken": "x"}},
    "DisassociateWhatsAppBusinessAccount": {},
    "GetLinkedWhatsAppBusinessAccount": {},
    "GetLinkedWhatsAppBusinessAccountPhoneNumber": {},
    "ListLinkedWhatsAppBusinessAccounts": {},
    "ListTagsForResource": {},
    "PutWhatsAppBusinessAccountEventDestinations": {"eventDestinations": []},
    "TagResource": {"tags": [{"key": "a", "value": "b"}]},
    "UntagResource": {"tagKeys": ["a"]},
}
"""Those that ask Meta nothing, or (in `test_signup`) with a token that comes along."""
ALL = ON_ACCOUNT | ON_NUMBER | OF_OURS
WITHOUT_RESOURCE = {"AssociateWhatsAppBusinessAccount", "ListLinkedWhatsAppBusinessAccounts"}

Call = Callable[..., str]
"""Calls an operation by its name, and returns the code of its error."""


@pytest.fixture(scope="module")
def account(gateway: Gateway) -> Any:
    return gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]


@pytest.fixture(scope="module")
def stranger(gateway: Gateway, account: Any) -> Key:
    """A key that may do everything, on another account."""
    other = {"Effect": "Allow", "Action": "social-messaging:*", "Resource": of_another(account["arn"])}
    return gateway.world.key_with_policy(other)


@pytest.fixture(scope="module")
def file(store: Store) -> None:
    store.client.put_object(Bucket=BUCKET, Key=FILE, Body=b"x", ContentType="image/png")


@pytest.fixture
def refusal(gateway: Gateway, account: Any) -> Call:
    ids = {
        "LinkedWhatsAppBusinessAccountId": account["id"],
        "WhatsAppPhoneNumberId": gateway.world.phone_number_id,
        "Arn": account["arn"],
    }

    def call(name: str, key: Key | None = None, resource: Callable[[str], str] = str) -> str:
        members = dict(ALL[name])
        if name not in WITHOUT_RESOURCE:
            members[target_of(name)[0]] = resource(ids[shape_of(name)])
        with pytest.raises(ClientError) as caught:
            getattr(gateway.client(key), xform_name(name))(**members)
        return str(caught.value.response["Error"]["Code"])

    return call


def shape_of(name: str) -> str:
    return next(shape for shape, target in TARGETS.items() if target is target_of(name)[1])


def of_another(name: str) -> str:
    """An id, or ARN, of the same form that nothing has."""
    return name[:-1] + ("0" if name[-1] != "0" else "1")


def test_every_operation_is_here() -> None:
    assert ALL.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", ALL)
def test_a_key_whose_policy_names_another_resource_is_denied_before_meta_is_asked(
    refusal: Call, simulator: Simulator, stranger: Key, name: str
) -> None:
    assert refusal(name, stranger) == "AccessDeniedException"
    assert simulator.requests == []


@pytest.mark.parametrize("name", [name for name in ALL if name not in WITHOUT_RESOURCE])
def test_what_is_not_linked_is_not_found_in_the_words_of_the_model(
    refusal: Call, simulator: Simulator, name: str
) -> None:
    known = "ResourceNotFoundException" in OPERATIONS[name].errors
    assert refusal(name, resource=of_another) == (
        "ResourceNotFoundException" if known else "InvalidParametersException"
    )
    assert simulator.requests == []


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize("name", ON_ACCOUNT | ON_NUMBER)
def test_what_meta_says_of_token_pace_and_itself_is_told(
    gateway: Gateway, simulator: Simulator, refusal: Call, account: Any, name: str
) -> None:
    said: list[tuple[dict[str, Any], str]] = [
        ({"kind": "error", "code": 10}, "AccessDeniedByMetaException"),
        ({"kind": "rate_limit", "code": 80007}, "ThrottledRequestException"),
        ({"kind": "error", "code": 33}, "DependencyException"),
    ]
    for fault, code in said:
        for hop in ("metadata", "upload", "delete", "send", "settings"):
            simulator.fault("*", hop=hop, **fault)
        assert refusal(name) == code
        simulator.clear_faults()
    # The next ones are not refused because of these: a circuit counts what is in a row.
    gateway.client().list_whatsapp_flows(id=account["id"])
    gateway.client().get_whatsapp_business_public_key(originationPhoneNumberId=gateway.world.phone_number_id)

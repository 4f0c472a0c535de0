"""Operations without a server: their rows, over those components that a test gives."""

import asyncio
import json
import math
import time
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import urlencode

import botocore.session
from botocore.serialize import create_serializer
from pydantic import SecretStr

from whaul.api.request import Invocation, Request
from whaul.api.service import ROUTES
from whaul.app import OPERATIONS
from whaul.arns import Arns
from whaul.auth.caller import Caller
from whaul.auth.policy import ALLOW_ALL, Policy
from whaul.model import Account, GraphToken, PhoneNumber
from whaul.operations.call import NumberCall, OperationCall, operation
from whaul.operations.components import Components, Rules
from whaul.outbound.circuit import Circuits
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts

MODEL = botocore.session.Session().get_service_model("socialmessaging")
ACCOUNT_ID, REGION = "111122223333", "eu-west-1"
CALLER = Caller("AKIA", "ann", f"arn:aws:iam::{ACCOUNT_ID}:user/ann", Policy.parse(ALLOW_ALL))
HEX = "0123456789abcdef0123456789abcdef"
NUMBER_ID, WABA_ID = f"phone-number-id-{HEX}", f"waba-{HEX}"
TOKEN = GraphToken(SecretStr("EAAGm0PX4ZCpsBAKs3cr3t"))


class NoDestinations:
    """Event destinations of accounts that have none."""

    async def of(self, _account_ids: Iterable[str]) -> dict[str, Any]:
        return {}

    async def put(self, _account_id: str, _destination: object) -> None:
        pass


def components(**given: Any) -> Components:
    """Those that are given; without the others, and an operation that uses one of them fails."""
    rules = Rules(Arns(ACCOUNT_ID, REGION), deadline=20.0, max_file_size=1024 * 1024)
    circuits = {kind: Circuits[Any](20, 30.0, time.monotonic) for kind in (PhoneNumber, Account)}
    absent = dict.fromkeys(
        ("registry", "linked", "graph", "http", "store", "presigned_hosts", "slots", "refreshes", "verify_tokens"),
        cast("Any", None),
    )
    own = {"rules": rules, "circuits": circuits, "event_destinations": NoDestinations()}
    return Components(**(absent | own | given))


def number_call(members: dict[str, Any], parts: Components, token: GraphToken = TOKEN) -> NumberCall:
    """A call of an operation on a phone number that has come through its checks; it has a single attempt at Meta."""
    number = PhoneNumber(NUMBER_ID, f"arn:aws:social-messaging:{REGION}:{ACCOUNT_ID}:x/{HEX}", "4711", token)
    attempts = Attempts(asyncio.get_running_loop().time() + 20, uniform=lambda _least, _most: math.inf)
    return OperationCall(
        "SendWhatsAppMessage", members, number.id, number, attempts, CALLER, Invocation(), parts, Call("id")
    )


def written(name: str, members: dict[str, Any], *, is_checked: bool = True) -> Request:
    """The request that botocore writes; it checks what is required and minimums, unless told not to."""
    serializer = create_serializer("rest-json", include_validation=is_checked)
    request = serializer.serialize_to_request(members, MODEL.operation_model(name))
    assert ROUTES[request["method"], request["url_path"]] == name
    return Request(urlencode(request["query_string"]).encode(), request["body"] or b"")


async def called(name: str, parts: Components, **members: Any) -> Any:
    """Call an operation as botocore would; return the response's document."""
    body, _ = await operation(name, OPERATIONS[name], parts)(written(name, members), CALLER, Call("id"))
    return json.loads(body)

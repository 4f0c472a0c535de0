"""The call that `whaul keys simulate` asks about: which actions it needs, and on which resources."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import typer

from whaul.api.service import OPERATIONS
from whaul.arns import Arns, read_meta_id
from whaul.auth.explanation import check_question
from whaul.errors import InvalidParametersException
from whaul.model import S3File
from whaul.operations.actions import GET_OBJECT, NO_RESOURCE, PUT_OBJECT, action_of, actions, object_arn
from whaul.settings import Settings
from whaul.storage.naming import extension, object_key
from whaul.terminal import suggestion

GET, POST = "GetWhatsAppMessageMedia", "PostWhatsAppMessageMedia"
ASSOCIATE = "AssociateWhatsAppBusinessAccount"
"""Takes no resource, but tags for what it links."""
NUMBER, ACCOUNT = "--phone-number-id", "--waba-id"
KINDS = {NUMBER: "phone-number-id", ACCOUNT: "waba"}
"""The kind of an ARN, by the option that names it."""
Need = tuple[str, str]
"""An action and a resource."""


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """A call as the options describe it."""

    action: str | None
    phone_number_id: str | None
    waba_id: str | None
    to: str | None
    source: str | None
    media_id: str
    mime_type: str

    def needs(self, settings: Settings, arns: Arns) -> list[Need]:
        """List what the call needs, in the order in which it is asked for. Raises `typer.BadParameter`."""
        operation = self._operation()
        named = self._named(arns)
        needs = [(action_of(operation), _resource(operation, named, arns))]
        if operation == ASSOCIATE:
            needs += [(action_of("TagResource"), arn) for arn in named.values()]
        if self.to is not None:
            file = _file("--to", self.to)
            try:
                suffix = extension(self.mime_type, settings.extensions)
                key = object_key(file.key, self.media_id, suffix, exact=settings.key_mode == "exact")
            except InvalidParametersException as error:
                raise typer.BadParameter(error.message, param_hint="--to") from None
            needs.append((PUT_OBJECT, object_arn(arns, file.bucket_name, key)))
        if self.source is not None:
            file = _file("--from", self.source)
            needs.append((GET_OBJECT, object_arn(arns, file.bucket_name, file.key)))
        return needs

    def _operation(self) -> str:
        """Name the operation; what is moved tells it, unless it is given."""
        if self.action is None:
            name = GET if self.source is None else POST
        else:
            name = self.action.removeprefix("social-messaging:")
        if name not in OPERATIONS:
            advice = suggestion(name, OPERATIONS) or "; with --resource, any action can be asked about"
            raise typer.BadParameter(f"there is no operation {name}{advice}", param_hint="--action")
        for option, value, operation in (("--to", self.to, GET), ("--from", self.source, POST)):
            if value is not None and name != operation:
                raise typer.BadParameter(f"goes with {operation}, not with {name}", param_hint=option)
        return name

    def _named(self, arns: Arns) -> dict[str, str]:
        """Read the ARNs of what the call names, by option."""
        named = {}
        if self.phone_number_id is not None:
            named[NUMBER] = _arn(NUMBER, self.phone_number_id, arns, arns.read_phone_number, arns.phone_number_id)
        if self.waba_id is not None:
            named[ACCOUNT] = _arn(ACCOUNT, self.waba_id, arns, arns.read_waba, arns.waba_id)
        return named


def _resource(operation: str, named: Mapping[str, str], arns: Arns) -> str:
    """What the operation itself is needed on."""
    forms = actions(arns)[action_of(operation)]
    if forms == (NO_RESOURCE,) and (not named or operation == ASSOCIATE):
        return NO_RESOURCE
    allowed = [option for option, kind in KINDS.items() if any(f":{kind}/" in form for form in forms)]
    if len(named) != 1 or not named.keys() <= set(allowed):
        raise typer.BadParameter(f"{operation} takes {' or '.join(allowed) or 'no resource'}")
    [arn] = named.values()
    return arn


def _arn(option: str, value: str, arns: Arns, read: Callable[[str], str | None], derive: Callable[[str], str]) -> str:
    meta_id = read_meta_id(value)
    id_ = derive(meta_id) if meta_id else read(value)
    if id_ is None:
        expected = "an id as `whaul accounts` lists it, its ARN in this account and region, or Meta's id"
        raise typer.BadParameter(f"expected {expected}", param_hint=option)
    return arns.arn(id_)


def one_need(action: str, resource: str) -> Need:
    """Check an action and a resource that are asked about by themselves. Raises `typer.BadParameter`."""
    try:
        check_question(action, resource)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return action, resource


def _file(option: str, text: str) -> S3File:
    match = re.fullmatch(r"s3://([^/]+)/?(.*)", text, re.DOTALL)
    if not match:
        raise typer.BadParameter("expected s3://bucket/key", param_hint=option)
    return S3File(match[1], match[2])

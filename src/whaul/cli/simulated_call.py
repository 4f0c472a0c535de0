"""The call that `whaul keys simulate` asks about: which actions it needs, and on which resources."""

import re
from dataclasses import dataclass

import typer

from whaul.api.service import OPERATIONS
from whaul.arns import Arns, read_meta_id
from whaul.errors import InvalidParametersException
from whaul.model import S3File
from whaul.operations.actions import GET_OBJECT, NO_RESOURCE, PUT_OBJECT, action_of, actions, object_arn
from whaul.settings import Settings
from whaul.storage.naming import extension, object_key
from whaul.terminal import suggestion

GET, POST = "GetWhatsAppMessageMedia", "PostWhatsAppMessageMedia"
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
        needs = [(action_of(operation), self._resource(operation, arns))]
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

    def _resource(self, operation: str, arns: Arns) -> str:
        forms = actions(arns)[action_of(operation)]
        given = {"--phone-number-id": self.phone_number_id, "--waba-id": self.waba_id}
        named = {option: value for option, value in given.items() if value is not None}
        allowed = {option for option in given if any(f":{option.removesuffix('-id')[2:]}" in form for form in forms)}
        if forms == (NO_RESOURCE,) and not named:
            return NO_RESOURCE
        if len(named) != 1 or not named.keys() <= allowed:
            raise typer.BadParameter(f"{operation} takes {' or '.join(sorted(allowed)) or 'no resource'}")
        [(option, value)] = named.items()
        meta_id = read_meta_id(value)
        if option == "--phone-number-id":
            id_ = arns.phone_number_id(meta_id) if meta_id else arns.read_phone_number(value)
        else:
            id_ = arns.waba_id(meta_id) if meta_id else arns.read_waba(value)
        if id_ is None:
            expected = "an id as `whaul accounts` lists it, its ARN in this account and region, or Meta's id"
            raise typer.BadParameter(f"expected {expected}", param_hint=option)
        return arns.arn(id_)


def one_need(action: str, resource: str) -> Need:
    """Check an action and a resource that are asked about by themselves. Raises `typer.BadParameter`."""
    if not re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9]+", action):
        raise typer.BadParameter("expected service:Name, without wildcards", param_hint="--action")
    if resource != "*" and not re.fullmatch(r"arn(:[^:]*){4}:.+", resource, re.DOTALL):
        raise typer.BadParameter("expected an ARN, or *", param_hint="--resource")
    return action, resource


def _file(option: str, text: str) -> S3File:
    match = re.fullmatch(r"s3://([^/]+)/?(.*)", text, re.DOTALL)
    if not match:
        raise typer.BadParameter("expected s3://bucket/key", param_hint=option)
    return S3File(match[1], match[2])

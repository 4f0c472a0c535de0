"""From a signed request to a caller: requests are signed by botocore, keys come from a registry in memory."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from whaul.auth.authenticator import Authenticator
from whaul.auth.caller import Caller
from whaul.auth.policy import ALLOW_ALL
from whaul.errors import (
    AccessDeniedException,
    ApiError,
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from whaul.model import AccessKey
from whaul.testing import Clock, InMemoryRegistry, signed_headers

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:8080/v1/whatsapp/media/get"
BODY = b'{"mediaId":"42"}'
REGION = "eu-west-1"
SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjE+/token=="
GET = "social-messaging:GetWhatsAppMessageMedia"
ONLY_GET = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": GET, "Resource": "*"}},
)
KEY = AccessKey("AKIAKEY", "crm", SecretStr(SECRET), ONLY_GET)
TEMPORARY = AccessKey("ASIAKEY", "job", SecretStr(SECRET), ALLOW_ALL, SecretStr(TOKEN))
ROOT = AccessKey("ROOT", "root", SecretStr("root-secret-of-sixteen"), ALLOW_ALL)


class Gateway:
    def __init__(self, *, root: AccessKey | None = None, required: bool = True) -> None:
        self.clock = Clock()
        self.registry = InMemoryRegistry([KEY, TEMPORARY])
        self.authenticator = Authenticator(
            self.registry,
            account_id="123456789012",
            region=REGION,
            now=self.clock.date,
            root=root,
            required=required,
        )

    async def call(
        self,
        *credentials: str,
        body: bytes = BODY,
        region: str = REGION,
        service: str = "social-messaging",
        at: datetime | None = None,
        drop: str | None = None,
        **headers: str,
    ) -> Caller:
        """Sign a request with these credentials and authenticate it, after changing it as told."""
        at = at or self.clock.date()
        signed = signed_headers("POST", URL, BODY, credentials, region=region, at=at, service=service)  # type: ignore[arg-type]
        sent = {"host": urlsplit(URL).netloc} | {name.lower(): value for name, value in signed.items()}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = [(name.encode(), value.encode()) for name, value in sent.items() if name != drop]
        return await self.authenticator.authenticate("POST", urlsplit(URL).path.encode(), b"", raw, body)


async def refusal(kind: type[ApiError], gateway: Gateway, *credentials: str, **changes: object) -> None:
    with pytest.raises(ApiError) as caught:
        await gateway.call(*credentials, **changes)  # type: ignore[arg-type]
    assert type(caught.value) is kind, caught.value.message
    for hidden in (*credentials[1:], SECRET, TOKEN):
        assert hidden not in caught.value.message


async def test_a_request_signed_by_botocore_proves_its_caller() -> None:
    caller = await Gateway().call("AKIAKEY", SECRET)
    assert (caller.access_key_id, caller.name) == ("AKIAKEY", "crm")
    assert caller.arn == "arn:aws:iam::123456789012:user/crm"


async def test_a_caller_may_do_what_its_policy_says_and_nothing_else() -> None:
    caller = await Gateway().call("AKIAKEY", SECRET)
    caller.authorize(GET, "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/1")
    with pytest.raises(AccessDeniedException) as caught:
        caller.authorize("s3:PutObject", "arn:aws:s3:::inbox/secret-key", shown_as="the object")
    assert "arn:aws:iam::123456789012:user/crm" in caught.value.message
    assert "s3:PutObject" in caught.value.message
    assert "the object" in caught.value.message
    assert "secret-key" not in caught.value.message


async def test_a_denial_names_the_resource_unless_it_must_not_be_repeated() -> None:
    caller = await Gateway().call("AKIAKEY", SECRET)
    with pytest.raises(AccessDeniedException, match="arn:aws:x"):
        caller.authorize("social-messaging:SendWhatsAppMessage", "arn:aws:x")


async def test_a_temporary_key_needs_its_session_token() -> None:
    gateway = Gateway()
    assert (await gateway.call("ASIAKEY", SECRET, TOKEN)).name == "job"
    await refusal(UnrecognizedClientException, gateway, "ASIAKEY", SECRET)
    await refusal(UnrecognizedClientException, gateway, "ASIAKEY", SECRET, TOKEN + "x")
    await refusal(IncompleteSignatureException, gateway, "ASIAKEY", SECRET, "é")
    await refusal(UnrecognizedClientException, gateway, "AKIAKEY", SECRET, TOKEN)


async def test_a_temporary_key_ends_with_its_time_and_only_its_holder_is_told() -> None:
    gateway = Gateway()
    end = datetime.fromtimestamp(gateway.clock.now + 60, UTC)
    gateway.registry.keys["ASIAKEY"] = replace(TEMPORARY, expires_at=end)
    gateway.clock.advance(59.999)
    assert (await gateway.call("ASIAKEY", SECRET, TOKEN)).name == "job"
    gateway.clock.advance(0.001)
    await refusal(ExpiredTokenException, gateway, "ASIAKEY", SECRET, TOKEN)
    await refusal(UnrecognizedClientException, gateway, "ASIAKEY", SECRET)
    await refusal(InvalidSignatureException, gateway, "ASIAKEY", "another-secret", TOKEN)


async def test_the_caller_of_a_key_with_limits_has_them() -> None:
    gateway = Gateway()
    gateway.registry.keys["AKIAKEY"] = replace(KEY, rate_limit=2.5, rate_burst=7)
    caller = await gateway.call("AKIAKEY", SECRET)
    assert (caller.rate_limit, caller.rate_burst) == (2.5, 7)


async def test_the_root_key_is_not_looked_up_and_may_do_everything() -> None:
    gateway = Gateway(root=ROOT)
    gateway.registry.keys["ROOT"] = AccessKey("ROOT", "impostor", SecretStr("another-secret"), ONLY_GET)
    caller = await gateway.call("ROOT", "root-secret-of-sixteen")
    assert caller.name == "root"
    caller.authorize("any:Thing", "*")
    await refusal(InvalidSignatureException, gateway, "ROOT", "another-secret")
    assert (await gateway.call("AKIAKEY", SECRET)).name == "crm"


async def test_without_a_root_key_its_name_is_nobodys() -> None:
    await refusal(UnrecognizedClientException, Gateway(), "ROOT", "root-secret-of-sixteen")


@pytest.mark.parametrize(
    ("kind", "credentials", "changes"),
    [
        (UnrecognizedClientException, ("AKIAOTHER", SECRET), {}),
        (UnrecognizedClientException, ("akiakey", SECRET), {}),
        (InvalidSignatureException, ("AKIAKEY", "wrong"), {}),
        (InvalidSignatureException, ("AKIAKEY", SECRET), {"body": BODY + b" "}),
        (InvalidSignatureException, ("AKIAKEY", SECRET), {"body": b""}),
        (InvalidSignatureException, ("AKIAKEY", SECRET), {"host": "evil.example"}),
        (IncompleteSignatureException, ("AKIAKEY", SECRET), {"region": "us-east-1"}),
        (IncompleteSignatureException, ("AKIAKEY", SECRET), {"service": "s3"}),
        (IncompleteSignatureException, ("AKIAKEY", SECRET), {"drop": "x-amz-date"}),
        (IncompleteSignatureException, ("AKIAKEY", SECRET), {"x_amz_target": "x"}),
        (IncompleteSignatureException, ("AKIAKEY", SECRET), {"authorization": "Bearer x"}),
        (MissingAuthenticationTokenException, ("AKIAKEY", SECRET), {"drop": "authorization"}),
    ],
)
async def test_what_proves_nothing_is_refused(
    kind: type[ApiError], credentials: tuple[str, ...], changes: dict[str, str]
) -> None:
    await refusal(kind, Gateway(), *credentials, **changes)


@pytest.mark.parametrize(("seconds", "passes"), [(0, True), (900, True), (-900, True), (901, False), (-901, False)])
async def test_a_signature_holds_for_a_quarter_of_an_hour_either_way(seconds: int, passes: bool) -> None:
    gateway = Gateway()
    at = gateway.clock.date()
    gateway.clock.advance(seconds)
    if passes:
        assert await gateway.call("AKIAKEY", SECRET, at=at)
    else:
        await refusal(InvalidSignatureException, gateway, "AKIAKEY", SECRET, at=at)


async def test_a_key_that_is_gone_or_changed_does_not_live_on_in_a_cache() -> None:
    gateway = Gateway()
    assert await gateway.call("AKIAKEY", SECRET)
    gateway.registry.keys["AKIAKEY"] = AccessKey("AKIAKEY", "crm", SecretStr("new"), ALLOW_ALL)
    await refusal(InvalidSignatureException, gateway, "AKIAKEY", SECRET)
    (await gateway.call("AKIAKEY", "new")).authorize("s3:PutObject", "*")
    del gateway.registry.keys["AKIAKEY"]
    await refusal(UnrecognizedClientException, gateway, "AKIAKEY", "new")


async def test_signing_keys_and_policies_are_worked_out_once() -> None:
    gateway = Gateway()
    await gateway.call("AKIAKEY", SECRET)
    for _ in range(3):
        await gateway.call("AKIAKEY", SECRET)
    keys, policies = gateway.authenticator._signing_key, gateway.authenticator._policy
    assert (keys.cache_info().misses, policies.cache_info().misses) == (1, 1)
    gateway.clock.advance(24 * 3600)
    await gateway.call("AKIAKEY", SECRET)
    assert keys.cache_info().misses == 2


async def test_a_stored_policy_that_cannot_be_read_lets_nobody_in() -> None:
    gateway = Gateway()
    gateway.registry.keys["AKIAKEY"] = AccessKey("AKIAKEY", "crm", SecretStr(SECRET), "{}")
    with pytest.raises(AccessDeniedException, match=r"Statement: is missing.*whaul keys policy"):
        await gateway.call("AKIAKEY", SECRET)


async def test_without_authentication_everyone_may_do_everything() -> None:
    caller = await Gateway(required=False).authenticator.authenticate("POST", b"/", b"", [], b"")
    assert (caller.access_key_id, caller.arn) == ("anonymous", "arn:aws:iam::123456789012:user/anonymous")
    caller.authorize("s3:PutObject", "arn:aws:s3:::inbox/42.jpeg")


async def test_a_caller_shows_no_policy_and_a_key_no_secret() -> None:
    caller = await Gateway().call("ASIAKEY", SECRET, TOKEN)
    assert "Statement" not in repr(caller)
    for hidden in (SECRET, TOKEN):
        assert hidden not in repr(TEMPORARY)

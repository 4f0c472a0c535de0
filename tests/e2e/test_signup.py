"""AssociateWhatsAppBusinessAccount with boto3 against the simulated Meta: both steps, and how each can fail."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from harness.error_rows import fails, shows
from harness.receiver import receiving
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET, App

PIN = "654321"


@pytest.fixture(scope="module")
def empty(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over a database of its own, with nothing linked."""
    folder = tmp_path_factory.mktemp("signup")
    environ = world.environ | {"WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}"}
    own = World(world.simulator, environ, folder)
    own.key = own.make_key("--allow-all")
    secret = f"{app_of(world.simulator).id}={DEFAULT_APP_SECRET}"
    with own.gateway(WHAUL_APP_SECRETS=secret) as running:
        yield running


@pytest.fixture
def gateway(empty: Gateway, simulator: Simulator) -> Iterator[Gateway]:
    """That gateway, with nothing linked at first, and an unregistered number at Meta."""
    simulator.configure(two_factor_pin=PIN)
    simulator.change_phone_number(simulator.phone_numbers[1].id, status="PENDING")
    yield empty
    simulator.reset()
    client = empty.client()
    for account in client.list_linked_whatsapp_business_accounts()["linkedAccounts"]:
        client.disassociate_whatsapp_business_account(id=account["id"])


def app_of(simulator: Simulator) -> App:
    return next(iter(simulator.apps))


def begin(gateway: Gateway, token: str | None = None, **members: str) -> Any:
    callback = {"accessToken": token or gateway.world.simulator.token} | members
    return gateway.client().associate_whatsapp_business_account(signupCallback=callback)


def finish(gateway: Gateway, token: str, *, pin: str = PIN, key: Any = None, **members: Any) -> Any:
    simulator = gateway.world.simulator
    numbers = [{"id": simulator.phone_numbers[1].id, "twoFactorPin": pin, "dataLocalizationRegion": "CH"}]
    setup = {"associateInProgressToken": token, "phoneNumbers": numbers, "waba": {"id": simulator.waba_id}} | members
    setup = {name: value for name, value in setup.items() if value is not None}
    return gateway.client(key).associate_whatsapp_business_account(setupFinalization=setup)


def token_of(answer: Any) -> str:
    return str(answer["signupCallbackResult"]["associateInProgressToken"])


def linked(gateway: Gateway) -> list[Any]:
    return list(gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"])


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_the_first_step_tells_what_meta_found(gateway: Gateway, simulator: Simulator) -> None:
    answer = begin(gateway)
    assert answer["statusCode"] == 200
    found = answer["signupCallbackResult"]["linkedAccountsWithIncompleteSetup"]
    account = found.pop(simulator.waba_id)
    assert found == {}
    assert (account["accountName"], account["registrationStatus"]) == ("Whaul Harbour (simulated)", "INCOMPLETE")
    assert account["wabaId"].startswith("waba-")
    (number,) = account["unregisteredWhatsAppPhoneNumbers"]
    assert number["metaPhoneNumberId"] == simulator.phone_numbers[1].id
    assert linked(gateway) == [], "nothing is linked by the first step"


def test_the_second_step_registers_links_subscribes_and_tags(gateway: Gateway, simulator: Simulator) -> None:
    token = token_of(begin(gateway))
    tags = [{"key": "customer", "value": "harbour"}]
    number = {"id": simulator.phone_numbers[1].id, "twoFactorPin": PIN, "dataLocalizationRegion": "CH", "tags": tags}
    answer = finish(gateway, token, waba={"id": simulator.waba_id, "tags": tags}, phoneNumbers=[number])
    client = gateway.client()
    account = client.get_linked_whatsapp_business_account(id=answer["linkedWhatsAppBusinessAccountId"])["account"]
    assert (answer["statusCode"], account["registrationStatus"]) == (200, "COMPLETE")
    first, second = account["phoneNumbers"]
    assert "dataLocalizationRegion" not in first
    assert second["dataLocalizationRegion"] == "CH"
    assert simulator.phone_numbers[1].status == "CONNECTED"
    assert simulator.count(simulator.waba_id)["register"] == 1, "the app is subscribed"
    for arn in (account["arn"], second["arn"]):
        assert client.list_tags_for_resource(resourceArn=arn)["tags"] == tags
    assert client.list_tags_for_resource(resourceArn=first["arn"])["tags"] == []


def test_the_accounts_webhooks_go_to_this_server_if_they_are_to(gateway: Gateway, simulator: Simulator) -> None:
    app = app_of(simulator)
    finish(gateway, token_of(begin(gateway, callbackUrl=f"{gateway.url}/webhooks/meta")))
    assert app.account_url == f"{gateway.url}/webhooks/meta/{app.id}"
    finish(gateway, token_of(begin(gateway)))
    assert app.account_url is not None, "it is kept"


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/callback",
        "https://elsewhere.example/",
        "https://elsewhere.example/webhooks/meta?a=b",
        "https://elsewhere.example/webhooks/meta/7",
        "ftp://elsewhere.example/webhooks/meta",
        "https://u:p@elsewhere.example/webhooks/meta",
        "/webhooks/meta",
    ],
)
def test_a_callback_url_that_cannot_be_this_server_s_is_refused(gateway: Gateway, url: str) -> None:
    with pytest.raises(ClientError, match="callbackUrl") as caught:
        begin(gateway, callbackUrl=url)
    assert caught.value.response["Error"]["Code"] == "InvalidParametersException"


def test_a_callback_url_that_is_not_this_server_s_is_refused_by_meta(gateway: Gateway, simulator: Simulator) -> None:
    with receiving() as other:
        other.challenge = lambda _query: (403, "")
        token = token_of(begin(gateway, callbackUrl=f"{other.url.removesuffix('/hook')}/webhooks/meta"))
        with pytest.raises(ClientError, match="it must be this server's") as caught:
            finish(gateway, token)
    assert caught.value.response["Error"]["Code"] == "InvalidParametersException"
    assert linked(gateway) == []
    assert simulator.phone_numbers[1].status == "PENDING", "nothing was registered"


def test_what_was_linked_by_sign_up_serves_media(gateway: Gateway, simulator: Simulator) -> None:
    answer = finish(gateway, token_of(begin(gateway)))
    account = gateway.client().get_linked_whatsapp_business_account(id=answer["linkedWhatsAppBusinessAccountId"])
    number = account["account"]["phoneNumbers"][0]["phoneNumberId"]
    media = simulator.add_media(b"x", "image/png")
    assert gateway.get(media, originationPhoneNumberId=number, metadataOnly=True)["mimeType"] == "image/png"


def test_the_end_of_a_customers_token_is_known(gateway: Gateway, simulator: Simulator) -> None:
    simulator.configure(token_expires_at=4_000_000_000)
    id_ = finish(gateway, token_of(begin(gateway)))["linkedWhatsAppBusinessAccountId"]
    assert gateway.world.whaul("accounts")["tokenExpiry"] == {id_: "2096-10-02T07:06:40+00:00"}


def test_a_number_is_added_to_an_account_that_is_linked(gateway: Gateway) -> None:
    parent = finish(gateway, token_of(begin(gateway)), phoneNumbers=[])["linkedWhatsAppBusinessAccountId"]
    assert linked(gateway)[0]["registrationStatus"] == "INCOMPLETE"
    answer = finish(gateway, token_of(begin(gateway)), waba=None, phoneNumberParent=parent)
    assert answer["linkedWhatsAppBusinessAccountId"] == parent
    assert linked(gateway)[0]["registrationStatus"] == "COMPLETE"


@shows("signup: token of the first step unknown, used or old")
def test_a_token_is_used_once_and_not_made_up(gateway: Gateway) -> None:
    row = "signup: token of the first step unknown, used or old"
    token = token_of(begin(gateway))
    finish(gateway, token)
    for wrong in (token, "x", "", token[::-1]):
        fails(gateway, row, lambda wrong=wrong: finish(gateway, wrong))  # type: ignore[misc]


@shows("Meta: wrong two-factor PIN, number not verified")
def test_a_wrong_pin_is_told_and_the_sign_up_can_be_finished_with_the_right_one(
    gateway: Gateway, simulator: Simulator
) -> None:
    token = token_of(begin(gateway))
    message = fails(
        gateway, "Meta: wrong two-factor PIN, number not verified", lambda: finish(gateway, token, pin="111111")
    )
    assert "133005" in message
    assert "111111" not in message
    assert linked(gateway) == []
    assert simulator.count(simulator.phone_numbers[1].id)["register"] == 1, "a wrong PIN is not tried again"
    assert finish(gateway, token)["statusCode"] == 200


def test_too_many_tags_are_refused_before_anything_is_registered(gateway: Gateway, simulator: Simulator) -> None:
    token, number = token_of(begin(gateway)), simulator.phone_numbers[1].id
    tags = [{"key": f"key{i}"} for i in range(51)]
    numbers = [{"id": number, "twoFactorPin": PIN, "tags": tags}]
    for members in ({"waba": {"id": simulator.waba_id, "tags": tags}}, {"phoneNumbers": numbers}):
        assert code_of(lambda members=members: finish(gateway, token, **members)) == "InvalidParametersException"  # type: ignore[misc]
    assert simulator.count(number)["register"] == 0
    assert finish(gateway, token)["statusCode"] == 200


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (133000, "DependencyException"),
        (133004, "DependencyException"),
        (133006, "InvalidParametersException"),
        (133008, "LimitExceededException"),
        (133009, "ThrottledRequestException"),
        (133015, "ThrottledRequestException"),
        (133016, "LimitExceededException"),
        (190, "InvalidParametersException"),
    ],
)
@shows("Meta: quota of PINs and registrations")
def test_what_meta_says_to_a_registration_is_told(
    gateway: Gateway, simulator: Simulator, code: int, expected: str
) -> None:
    token = token_of(begin(gateway))
    simulator.fault(simulator.phone_numbers[1].id, kind="error", code=code, hop="register")
    assert code_of(lambda: finish(gateway, token)) == expected
    assert linked(gateway) == []


@shows("signup: token revoked at Meta, or bound to no account")
def test_a_token_that_meta_does_not_know_or_has_revoked_is_told(gateway: Gateway, simulator: Simulator) -> None:
    row = "signup: token revoked at Meta, or bound to no account"
    assert "EAAGwrong" not in fails(gateway, row, lambda: begin(gateway, "EAAGwrong"))
    token = token_of(begin(gateway))
    simulator.fault(kind="error", code=190)
    fails(gateway, row, lambda: finish(gateway, token))
    simulator.clear_faults()
    unbound = {"data": {"is_valid": True, "granular_scopes": [{"scope": "whatsapp_business_management"}]}}
    for body in (unbound, {"data": {"is_valid": False}}, {"data": {"is_valid": True}}):
        simulator.fault("debug_token", kind="wrong_json", body=body, times=1)
        fails(gateway, row, lambda: begin(gateway))


def test_an_account_or_number_of_somebody_else_is_refused(gateway: Gateway) -> None:
    token = token_of(begin(gateway))
    for members in (
        {"waba": {"id": "999999"}},
        {"phoneNumbers": [{"id": "999999", "twoFactorPin": PIN}]},
        {"waba": None, "phoneNumberParent": f"waba-{'0' * 32}"},
        {"waba": None, "phoneNumberParent": f"arn:aws:social-messaging:eu-north-1:111122223333:waba/{'0' * 32}"},
    ):
        assert code_of(lambda members=members: finish(gateway, token, **members)) == "InvalidParametersException"  # type: ignore[misc]
    assert linked(gateway) == []


def test_meta_out_of_order_is_a_dependency_error(brief_gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault(kind="error", code=131016)
    assert code_of(lambda: begin(brief_gateway)) == "DependencyException"


def test_both_steps_need_the_action_and_tags_another(gateway: Gateway, simulator: Simulator) -> None:
    world = gateway.world
    only = world.key_with_policy({"Effect": "Allow", "Action": "social-messaging:Assoc*", "Resource": "*"})
    others = world.key_with_policy(
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "social-messaging:AssociateWhatsAppBusinessAccount", "Resource": "*"},
    )
    token = token_of(begin(gateway))
    tagged = {"id": simulator.waba_id, "tags": [{"key": "a"}]}
    denied = [
        lambda: gateway.client(others).associate_whatsapp_business_account(signupCallback={"accessToken": "x"}),
        lambda: finish(gateway, token, key=others),
        lambda: finish(gateway, token, key=only, waba=tagged),
    ]
    assert {code_of(call) for call in denied} == {"AccessDeniedException"}
    assert linked(gateway) == []
    assert finish(gateway, token, key=only)["statusCode"] == 200


def test_no_secret_of_a_sign_up_is_logged(gateway: Gateway) -> None:
    token = token_of(begin(gateway))
    with pytest.raises(ClientError):
        finish(gateway, token, pin="424242")
    finish(gateway, token)
    log = gateway.log.read_text(encoding="utf-8")
    for secret in (token, PIN, "424242", gateway.world.simulator.token):
        assert secret not in log


def test_what_is_linked_unregistered_on_the_command_line_is_incomplete_too(
    gateway: Gateway, simulator: Simulator
) -> None:
    account = gateway.world.whaul("link", "--waba-id", simulator.waba_id)["account"]
    assert account["registrationStatus"] == "INCOMPLETE"
    assert linked(gateway)[0]["registrationStatus"] == "INCOMPLETE"


def test_what_was_linked_without_asking_meta_is_refreshed_after_it_was_served(
    gateway: Gateway, simulator: Simulator
) -> None:
    number = simulator.phone_numbers[0]
    link = ("link", "--waba-id", simulator.waba_id, "--no-verify", "--name", "Unverified")
    gateway.world.whaul(*link, "--phone-number", f"{number.id}=+15550100")
    assert linked(gateway)[0]["wabaName"] == "Unverified"
    eventually(lambda: linked(gateway)[0]["wabaName"] == "Whaul Harbour (simulated)")

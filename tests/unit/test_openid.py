"""Sign-in at a provider: a real one on loopback, and every way in which it, or somebody in between, may lie."""

import base64
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog.testing
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import JWKRegistry, Key, RSAKey
from pydantic import SecretStr
from pyreqwest.http import Url
from starlette.datastructures import QueryParams

from harness.loopback import BREAK, Loopback, reply
from harness.openid import CLIENT_ID, CLIENT_SECRET, Claims, OpenIdProvider, new_key, openid_provider, signed
from whaul.auth.openid.errors import OpenIdError, ProviderError, RefusedError
from whaul.auth.openid.person import MAX_NAME, Person
from whaul.auth.openid.provider import FAILURE_REST, KEPT, KEYS_REST, Client, Provider
from whaul.auth.openid.tokens import usable_keys
from whaul.auth.policy import ALLOW_ALL
from whaul.cli.console import checked
from whaul.cli.failures import CommandError
from whaul.components import open_registry
from whaul.console.openid import ATTEMPT_LIFE, OpenId, Rules
from whaul.doctor.findings import Finding, Outcome
from whaul.doctor.openid import openid
from whaul.outbound.http import HttpClient
from whaul.settings import Settings, SettingsError

pytestmark = pytest.mark.anyio

BACK = "https://console.example/sign-in/oidc/callback"
ACCESS_KEYS = {"admins": "operator", "support": "reader", "gone": "disabled", "both": "twin"}
USABLE = {"operator": ["AKIA1"], "reader": ["AKIA2"], "twin": ["AKIA3", "AKIA4"]}


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OpenIdProvider]:
    with openid_provider() as running:
        yield running


@pytest.fixture
def provider(shared_provider: OpenIdProvider) -> OpenIdProvider:
    shared_provider.keys = {"first": new_key("first")}
    shared_provider.reset()
    return shared_provider


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


def client_of(issuer: str) -> Client:
    return Client(issuer, CLIENT_ID, SecretStr(CLIENT_SECRET))


class Browser:
    """A console's sign-in, and somebody's browser."""

    def __init__(self, provider: OpenIdProvider, http: HttpClient, groups_claim: str = "groups") -> None:
        async def usable(name: str) -> list[str]:
            return USABLE.get(name, [])

        self.ticks = Clock()
        rules = Rules(("openid", "email"), groups_claim, ACCESS_KEYS, timedelta(hours=1))
        self.openid = OpenId(Provider(client_of(provider.issuer), http, self.ticks), rules, usable)
        self._http = http

    async def go(self, back: str = BACK) -> tuple[QueryParams, str]:
        """Go to the provider; return what comes back, and the cookie."""
        attempt = await self.openid.begin(back)
        response = await self._http.get(Url(attempt.url), {})
        place = response.headers["location"]
        assert place.startswith(f"{back}?")
        return QueryParams(urlsplit(place).query), attempt.sealed

    async def sign_in(self) -> str:
        answer, sealed = await self.go()
        return await self.openid.access_key(await self.openid.finish(answer, sealed, BACK))


@pytest.fixture
def browser(provider: OpenIdProvider, http: HttpClient) -> Browser:
    return Browser(provider, http)


async def test_a_group_signs_in_as_its_access_key(browser: Browser, provider: OpenIdProvider) -> None:
    answer, sealed = await browser.go()
    person = await browser.openid.finish(answer, sealed, BACK)
    assert person.name == "ada@example.com (248289761001)"
    assert await browser.openid.access_key(person) == "AKIA1"
    assert provider.requests == [
        "GET /.well-known/openid-configuration",
        "GET /authorize",
        "POST /token",
        "GET /keys",
    ]
    assert not set(sealed) & set('{}" ')
    assert answer["state"] not in sealed


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        (["support", "admins"], "AKIA1"),  # the order is that of the setting
        (["support"], "AKIA2"),
        ("support", "AKIA2"),
        (["Admins"], "none of your groups"),
        ([], "none of your groups"),
        ([["admins"], 7, None], "none of your groups"),
        (["gone", "unknown"], "cannot be used"),
        (["both"], "not the only one"),
        (None, "WHAUL_OIDC_GROUPS_CLAIM"),
        ({"admins": True}, "WHAUL_OIDC_GROUPS_CLAIM"),
    ],
)
async def test_the_first_group_counts_and_nobody_without_one_comes_in(
    browser: Browser, provider: OpenIdProvider, groups: object, found: str
) -> None:
    provider.claims = {"groups": groups}
    if found.startswith("AKIA"):
        assert await browser.sign_in() == found
        return
    with pytest.raises(RefusedError, match=found) as refused:
        await browser.sign_in()
    assert "operator" not in refused.value.text


@pytest.mark.parametrize(
    ("claim", "claims", "groups"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["a", "b"]}}, {"a", "b"}),
        ("https://a.example/groups", {"https://a.example/groups": ["a"]}, {"a"}),
        ("email", {"email": "a@b.example", "email_verified": True}, {"a@b.example"}),
        ("email", {"email": "a@b.example", "email_verified": "true"}, None),
        ("email", {"email": "a@b.example"}, None),
        ("a.b", {"a": ["b"]}, None),
    ],
)
def test_groups_are_where_the_setting_says(claim: str, claims: Claims, groups: set[str] | None) -> None:
    if groups is None:
        with pytest.raises(RefusedError):
            Person.of({"sub": "1"} | claims, claim)
    else:
        assert Person.of({"sub": "1"} | claims, claim).groups == groups


def test_the_audit_log_calls_people_by_what_cannot_be_taken_from_them() -> None:
    claims: Claims = {"sub": "1\n2", "groups": [], "email": "a@b.example"}
    assert Person.of(claims, "groups").name == "a@b.example (1\\n2)"
    assert Person.of(claims | {"email_verified": False}, "groups").name == "1\\n2"
    assert len(Person.of(claims | {"email": "x" * 1000}, "groups").name) == MAX_NAME


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"sub": "248289761001", "groups": ["support"], "aud": "any", "email": "eve@example.com"}, "AKIA2"),
        ({"sub": "248289761001"}, "WHAUL_OIDC_GROUPS_CLAIM"),
        ({"sub": "another", "groups": ["admins"]}, "two people"),
        ({"groups": ["admins"]}, "two people"),
    ],
)
async def test_groups_that_are_not_in_the_token_are_asked_for(
    browser: Browser, provider: OpenIdProvider, told: Claims, found: str
) -> None:
    provider.claims, provider.told = {"groups": None}, told
    if found.startswith("AKIA"):
        assert await browser.sign_in() == found
    else:
        with pytest.raises(RefusedError, match=found):
            await browser.sign_in()
    assert provider.requests[-1] == "GET /userinfo"


# What somebody in between may do


async def test_an_answer_is_good_once_and_in_its_browser_only(browser: Browser) -> None:
    answer, sealed = await browser.go()
    _, other = await browser.go()
    for cookie in (None, "", "x", other, sealed[:-4], "\udcff"):
        with pytest.raises(RefusedError):
            await browser.openid.finish(answer, cookie, BACK)
    await browser.openid.finish(answer, sealed, BACK)
    with pytest.raises(RefusedError, match="used before"):
        await browser.openid.finish(answer, sealed, BACK)


async def test_a_code_is_good_once(browser: Browser) -> None:
    stolen, sealed = await browser.go()
    await browser.openid.finish(stolen, sealed, BACK)
    own, sealed = await browser.go()
    injected = QueryParams({**own, "code": stolen["code"]})
    with pytest.raises(RefusedError, match="does not take the code") as refused:
        await browser.openid.finish(injected, sealed, BACK)
    assert stolen["code"] not in refused.value.text


async def test_the_code_of_another_attempt_is_worth_nothing(browser: Browser) -> None:
    stolen, _ = await browser.go()
    own, sealed = await browser.go()
    with pytest.raises(RefusedError, match="does not take the code"):  # PKCE
        await browser.openid.finish(QueryParams({**own, "code": stolen["code"]}), sealed, BACK)


async def test_somebody_has_to_be_back_in_time(provider: OpenIdProvider, http: HttpClient) -> None:
    browser, clock = Browser(provider, http), Clock()
    openid = OpenId(browser.openid.provider, browser.openid.rules, lambda _name: None, clock)  # type: ignore[arg-type, return-value]
    attempt = await openid.begin(BACK)
    clock.now += ATTEMPT_LIFE + 1
    state = parse_qs(urlsplit(attempt.url).query)["state"][0]
    with pytest.raises(RefusedError, match="10 minutes ago"):
        await openid.finish(QueryParams({"state": state, "code": "x"}), attempt.sealed, BACK)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"iss": "https://evil.example"}, "Another provider"),  # RFC 9207
        ({"iss": ""}, "no usable `iss`"),
        ({"state": "x"}, "another attempt"),
        ({"state": "é"}, "no usable `state`"),
        ({"code": ""}, "no usable `code`"),
        ({"code": "x" * 9000}, "no usable `code`"),
        ({"code": "", "error": "access_denied"}, "did not let you in"),
        ({"code": "", "error": "temporarily_unavailable"}, "Try again later"),
        ({"code": "", "error": "invalid_scope"}, "invalid_scope"),
    ],
)
async def test_another_answer_is_refused(
    browser: Browser, provider: OpenIdProvider, changed: dict[str, str], told: str
) -> None:
    provider.answer = changed
    with pytest.raises(OpenIdError, match=told):
        await browser.sign_in()
    assert "POST /token" not in provider.requests


async def test_an_answer_to_another_address_or_with_two_codes_is_refused(browser: Browser) -> None:
    answer, sealed = await browser.go()
    with pytest.raises(RefusedError, match="another address"):
        await browser.openid.finish(answer, sealed, BACK.replace("console", "other"))
    answer, sealed = await browser.go()
    with pytest.raises(RefusedError, match="`code`"):
        await browser.openid.finish(QueryParams([*answer.multi_items(), ("code", "x")]), sealed, BACK)


# ID tokens


def encoded(*parts: Claims) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)


def unsigned(_header: Mapping[str, Any], claims: Claims, _key: Key) -> str:
    return f"{encoded({'alg': 'none'}, claims)}."


def with_the_public_key_as_secret(header: Mapping[str, Any], claims: Claims, key: Key) -> str:
    told = encoded({"alg": "HS256", "kid": header["kid"]}, claims)
    secret = key.as_pem(private=False)  # type: ignore[union-attr]
    return f"{told}.{base64.urlsafe_b64encode(hmac.digest(secret, told.encode(), 'sha256')).rstrip(b'=').decode()}"


def with_another_key(header: Mapping[str, Any], claims: Claims, _key: Key) -> str:
    return signed(header, claims, new_key("other"))


def with_an_unknown_key(header: Mapping[str, Any], claims: Claims, _key: Key) -> str:
    return signed({**header, "kid": "unknown"}, claims, new_key("unknown"))


def with_a_key_of_its_own(_header: Mapping[str, Any], claims: Claims, _key: Key) -> str:
    own = new_key("first")
    return signed({"alg": "ES256", "kid": "first", "jwk": own.as_dict(private=False)}, claims, own)


def changed_afterwards(header: Mapping[str, Any], claims: Claims, key: Key) -> str:
    signature = signed(header, claims, key).rpartition(".")[2]
    return f"{encoded(dict(header), claims | {'groups': ['admins', 'root']})}.{signature}"


def with_a_rule_that_nobody_knows(header: Mapping[str, Any], claims: Claims, key: Key) -> str:
    told = encoded({**header, "crit": ["rule"], "rule": 1}, claims)
    signature = key.get_op_key("sign").sign(told.encode(), ECDSA(SHA256()))  # type: ignore[union-attr]
    raw = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))
    return f"{told}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "sign",
    [
        unsigned,
        with_the_public_key_as_secret,
        with_another_key,
        with_an_unknown_key,
        with_a_key_of_its_own,
        changed_afterwards,
        with_a_rule_that_nobody_knows,
        lambda *_: "",
        lambda *_: "a.b.c",
        lambda *_: "x" * 200_000,
        lambda *_: "e30.e30.",
        lambda *_: "é.é.é",
        lambda *_: "W10.W10.W10",
    ],
)
async def test_what_the_provider_did_not_sign_is_refused(
    browser: Browser, provider: OpenIdProvider, sign: Callable[[Mapping[str, Any], Claims, Key], str]
) -> None:
    provider.sign = sign
    with pytest.raises(RefusedError) as refused:
        await browser.sign_in()
    assert not provider.given[-1] or provider.given[-1] not in refused.value.text


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "another client"),
        ({"aud": ["other"]}, "another client"),
        ({"aud": [CLIENT_ID, "other"]}, "another client"),
        ({"aud": [CLIENT_ID, "other"], "azp": "other"}, "another client"),
        ({"azp": "other"}, "another client"),
        ({"aud": None}, "another client"),
        ({"aud": {CLIENT_ID: 1}}, "another client"),
        ({"exp": 1_700_000_000}, "Set the clock"),
        ({"exp": None}, "until when"),
        ({"exp": "2999"}, "until when"),
        ({"exp": True}, "until when"),
        ({"exp": float("nan")}, "expired"),
        ({"iat": 32_000_000_000}, "Set the clock"),
        ({"iat": None}, "until when"),
        ({"nbf": 32_000_000_000}, "Set the clock"),
        ({"nbf": "x"}, "Set the clock"),
        ({"nonce": "other"}, "another attempt"),
        ({"nonce": None}, "another attempt"),
        ({"nonce": 7}, "another attempt"),
        ({"sub": None}, "whose it is"),
        ({"sub": ""}, "whose it is"),
    ],
)
async def test_a_token_of_somebody_else_or_another_time_is_refused(
    browser: Browser, provider: OpenIdProvider, claims: Claims, told: str
) -> None:
    provider.claims = claims
    with pytest.raises(RefusedError, match=told):
        await browser.sign_in()


@pytest.mark.parametrize(
    ("kind", "size", "algorithm"),
    [("RSA", 2048, "RS256"), ("RSA", 2048, "PS384"), ("EC", "P-521", "ES512"), ("OKP", "Ed25519", "Ed25519")],
)
async def test_tokens_of_the_usual_kinds_are_taken(
    browser: Browser, provider: OpenIdProvider, kind: str, size: str | int, algorithm: str
) -> None:
    provider.keys["k"] = JWKRegistry.generate_key(kind, size, {"kid": "k", "use": "sig"})
    provider.claims = {"aud": [CLIENT_ID, "api"], "azp": CLIENT_ID}
    provider.sign = lambda _header, claims, key: jwt.encode({"alg": algorithm, "kid": "k"}, claims, key, [algorithm])
    assert await browser.sign_in() == "AKIA1"


async def test_a_key_without_a_name_is_found_by_trying(browser: Browser, provider: OpenIdProvider) -> None:
    provider.keys["second"] = new_key("second")
    provider.sign = lambda _header, claims, key: signed({"alg": "ES256"}, claims, key)
    assert await browser.sign_in() == "AKIA1"


def test_keys_that_prove_nothing_are_passed_over() -> None:
    good = new_key("good").as_dict(private=False)
    weak = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xff" * 128).decode()}
    others = [weak, {"kty": "oct", "k": "c2VjcmV0"}, good | {"use": "enc"}, {"kty": "AKP"}, {}, 7, {"kty": "EC"}]
    assert [key.get("kid") for key in usable_keys({"keys": [*others, good]})] == ["good"]
    for document in ([], {}, {"keys": {}}):
        with pytest.raises(ProviderError):
            usable_keys(document)


# The provider


async def test_new_keys_are_read_but_not_for_whoever_names_one(browser: Browser, provider: OpenIdProvider) -> None:
    await browser.sign_in()
    del provider.keys["first"]
    provider.keys["second"] = new_key("second")
    for _ in range(2):
        with pytest.raises(RefusedError, match="not signed"):
            await browser.sign_in()
    assert provider.requests.count("GET /keys") == 1
    browser.ticks.now += KEYS_REST
    assert await browser.sign_in() == "AKIA1"
    assert await browser.sign_in() == "AKIA1"
    assert provider.requests.count("GET /keys") == 2
    browser.ticks.now += KEPT
    assert await browser.sign_in() == "AKIA1"
    assert provider.requests.count("GET /keys") == 3
    assert provider.requests.count("GET /.well-known/openid-configuration") == 2


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"issuer": "https://evil.example"}, "calls itself https://evil.example"),
        ({"issuer": None}, "to the letter"),
        ({"token_endpoint": None}, "`token_endpoint`"),
        ({"token_endpoint": "http://idp.example/token"}, "not https"),
        ({"jwks_uri": "file:///etc/passwd"}, "`jwks_uri`"),
        ({"userinfo_endpoint": "http://idp.example/me"}, "not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "`authorization_endpoint`"),
        ({"authorization_endpoint": "https://user@idp.example"}, "`authorization_endpoint`"),
    ],
)
async def test_a_provider_that_is_not_the_one_is_not_used(
    browser: Browser, provider: OpenIdProvider, document: Claims, told: str
) -> None:
    provider.document = document
    with pytest.raises(ProviderError, match=told):
        await browser.openid.begin(BACK)


@pytest.mark.parametrize(
    "endpoint", [None, "", "http://idp.example/logout", "javascript:alert(1)", "https://user@idp.example/logout"]
)
async def test_without_a_usable_place_for_signing_out_people_still_come_in(
    browser: Browser, provider: OpenIdProvider, endpoint: str | None
) -> None:
    provider.document = {"end_session_endpoint": endpoint}
    assert await browser.sign_in() == "AKIA1"
    assert await browser.openid.sign_out_url(BACK) is None


async def test_a_provider_that_is_away_keeps_nobody_from_signing_out(
    browser: Browser, provider: OpenIdProvider
) -> None:
    provider.fails = 502
    assert await browser.openid.sign_out_url(BACK) is None


async def test_a_provider_that_is_away_is_asked_again_after_a_while(http: HttpClient) -> None:
    async with Loopback(BREAK, reply(502), reply(200, "[]"), reply(200, "[" * 100_000)) as server:
        clock = Clock()
        provider = Provider(client_of(server.url), http, clock)
        for told in ("does not answer", "answers 502", "no JSON object", "no JSON object"):
            for _ in range(2):
                with pytest.raises(ProviderError, match=told):
                    await provider.metadata()
            clock.now += FAILURE_REST
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(400, {"error": "invalid_grant"}), "Sign in again"),
        (reply(400, {"error": "invalid_client"}), "WHAUL_OIDC_CLIENT_SECRET"),
        (reply(401), "WHAUL_OIDC_CLIENT_SECRET"),
        (reply(500, "C0DE"), "answers 500 when"),
        (reply(400, {"error": "C0DE"}), "answers 400 when"),
        (reply(200, {"access_token": "C0DE"}), "no ID token"),
        (reply(200, {"id_token": ["C0DE"]}), "no ID token"),
        (reply(200, "C0DE"), "no JSON"),
        (reply(302, "", location="https://evil.example/?C0DE"), "answers 302"),
    ],
)
async def test_a_code_that_brings_nothing_is_not_repeated(http: HttpClient, answer: Any, told: str) -> None:
    async with Loopback() as server:
        document = {
            "issuer": server.url,
            **dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), f"{server.url}/x"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
        server._answers = [reply(200, document), answer]
        provider = Provider(client_of(server.url), http)
        with pytest.raises(OpenIdError, match=told) as refused:
            await provider.tokens("C0DE", "verifier", BACK)
        assert "C0DE" not in refused.value.text
        sent = parse_qs(server.requests[-1].body.decode())
        assert (sent["client_secret"], sent["code_verifier"]) == ([CLIENT_SECRET], ["verifier"])


# The doctor


async def test_the_doctor_asks_the_provider_and_looks_for_the_access_keys(
    monkeypatch: pytest.MonkeyPatch, http: HttpClient, provider: OpenIdProvider
) -> None:
    async def found(**changed: str) -> list[Finding]:
        given = {"ISSUER": provider.issuer, "CLIENT_ID": CLIENT_ID, "ACCESS_KEYS": "admins=operator"} | changed
        loaded = settings(monkeypatch, **given)
        async with open_registry(loaded) as registry:
            return [finding async for finding in openid(loaded, http, registry)]

    ill, missing = await found(ISSUER=provider.issuer + "/")
    assert (ill.outcome, missing.outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert "to the letter" in ill.detail
    assert missing.detail == "the access key operator of WHAUL_OIDC_ACCESS_KEYS cannot be used"
    async with open_registry(Settings.load()) as registry:
        for count in (1, 2):
            await registry.access_keys.create("operator", ALLOW_ALL)
            well, *more = await found()
            assert well.detail == f"{provider.issuer} answers, and has keys that can be used: 1"
            assert len(more) == count - 1
    provider.keys = {"weak": RSAKey.generate_key(2048, {"kid": "weak", "use": "enc"})}
    assert (await found())[0].outcome is Outcome.FAILED


# Settings

GIVEN = {"ISSUER": "https://idp.example", "CLIENT_ID": "whaul", "ACCESS_KEYS": "cn=admins=operator, support=reader"}


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for name, value in given.items():
        monkeypatch.setenv(f"WHAUL_OIDC_{name}", value)
    return Settings.load()


def test_a_group_may_have_equals_signs_and_commas_and_openid_is_always_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = settings(monkeypatch, **GIVEN, SCOPES="groups")
    assert list(found.oidc_access_keys.items()) == [("cn=admins", "operator"), ("support", "reader")]
    assert found.oidc_scopes == ("openid", "groups")
    directory = settings(monkeypatch, **GIVEN | {"ACCESS_KEYS": '{"CN=b,OU=x": "operator", "a": "reader"}'})
    assert list(directory.oidc_access_keys.items()) == [("CN=b,OU=x", "operator"), ("a", "reader")]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ISSUER", "http://idp.example", "expected https"),
        ("ISSUER", "https://idp.example/?tenant=1", "expected https"),
        ("ISSUER", "", "WHAUL_OIDC_ISSUER, or neither"),
        ("CLIENT_ID", "", "WHAUL_OIDC_ISSUER, or neither"),
        ("ACCESS_KEYS", "", "WHAUL_OIDC_ISSUER, or neither"),
        ("ACCESS_KEYS", "admins", "group=access key"),
        ("ACCESS_KEYS", "admins=", "group=access key"),
        ("ACCESS_KEYS", "a=b,a=c", "twice"),
        ("ACCESS_KEYS", '{"a": "b", "a": "c"}', "twice"),
        ("ACCESS_KEYS", '{"a": "b"', "a JSON object, as"),
        ("ACCESS_KEYS", '{"a": {"b": "c"}}', "whose values are"),
        ("ACCESS_KEYS", '{"a": ""}', "group=access key"),
        ("SCOPES", "openid email", "commas"),
        ("SESSION", "9h", "8"),
    ],
)
def test_settings_that_let_nobody_in_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        settings(monkeypatch, **{**GIVEN, name: value})


async def test_a_console_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whaul.extras.find_spec", lambda name: None if name == "joserfc" else name)
    with pytest.raises(CommandError, match=r"whaul\[oidc\]"):
        await checked(settings(monkeypatch, **GIVEN))


async def test_a_console_that_starts_tells_of_access_keys_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAUL_CONSOLE_LISTEN", "127.0.0.1:0")
    with structlog.testing.capture_logs() as logged:
        await checked(settings(monkeypatch, **GIVEN))
    assert [line["message"].partition(" of ")[0] for line in logged if line["event"] == "nobody_signs_in"] == [
        "the access key operator",
        "the access key reader",
    ]


def test_a_console_without_a_provider_needs_no_package() -> None:
    look = "import sys; sys.modules['joserfc'] = None; import whaul.console.app"
    subprocess.run([sys.executable, "-c", look], check=True)

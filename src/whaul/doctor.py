"""What stands between this set-up and calls that succeed: one finding for each thing that is looked at.

Looks at the settings, the database, the secret key, Meta, each linked account's token, the clock, S3 and a bucket.
Makes nothing but a small object in the bucket that is named, and removes it again. Shows no secret.
"""

import asyncio
import hashlib
import os
import stat
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

from pyreqwest.http import Url

from whaul.errors import ApiError, Retry
from whaul.graph.accounts import MetaAccount
from whaul.graph.client import GraphClient
from whaul.model import MediaInfo, S3File
from whaul.outbound.http import Answer, HttpClient, HttpFailure
from whaul.parts import stored
from whaul.parts.outbound import graph_client, http_client
from whaul.parts.s3 import s3_store
from whaul.registry import schema
from whaul.registry.database import key_file
from whaul.registry.errors import RegistryError, RegistryUnavailableError, SchemaError
from whaul.registry.records import LinkedAccount
from whaul.registry.store import Registry, open_registry
from whaul.secrets import SecretKeyError
from whaul.settings import Settings, SettingsError
from whaul.storage.credentials import CredentialChain
from whaul.storage.s3 import S3Store

PATIENCE = 10.0
"""Seconds for each check."""
LARGEST_SKEW = 300.0
"""Seconds that the clock may be off: a margin below the 15 minutes at which AWS refuses signatures."""
EXPIRES_SOON = timedelta(days=7)
"""A token that ends within this is worth a warning."""
ACCOUNTS_AT_ONCE = 16
PROBE = b"written by whaul doctor\n"
PROBE_PREFIX = ".whaul-doctor-"
SET_THE_CLOCK = "set this machine's clock, with NTP say: signatures are refused when it is off"


class Outcome(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should know of it."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was not looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    check: str
    outcome: Outcome
    detail: str
    advice: str = ""
    """What to do; empty when there is nothing to be done."""


class Doctor:
    """Looks at everything that the settings name, one after the other; a failure ends none but its own check."""

    def __init__(self, settings: Settings, now: Callable[[], datetime], patience: float = PATIENCE) -> None:
        self._settings = settings
        self._now = now
        self._patience = patience
        self._skews: dict[str, float] = {}

    async def findings(self, bucket: str | None) -> AsyncGenerator[Finding]:
        """Check after check, as they are made; `bucket` is where a write is tried, None for nowhere."""
        for finding in _settings_findings(self._settings):
            yield finding
        async with AsyncExitStack() as stack:
            database = await self._bounded("database", self._database())
            yield database
            registry: Registry | None = None
            if database.outcome is Outcome.OK:
                try:
                    registry = await self._registry(stack)
                    yield await self._bounded("secret key", _secret_key(registry))
                except SettingsError as error:
                    yield Finding("secret key", Outcome.FAILED, "; ".join(error.problems), "restore or set the key")
                except RegistryError:
                    yield Finding("secret key", Outcome.FAILED, "the database no longer answers", "see the database")
            else:
                yield Finding("secret key", Outcome.SKIPPED, "needs the database")
            try:
                http = await stack.enter_async_context(http_client(self._settings))
            except SettingsError as error:
                detail, advice = "; ".join(error.problems), "give the variable a file, or a proxy, that can be used"
                yield Finding("certificates and proxies", Outcome.FAILED, detail, advice)
                return
            async with aclosing(self._meta(http, registry)) as of_meta:
                async for finding in of_meta:
                    yield finding
            async with aclosing(self._s3(http, bucket)) as of_s3:
                async for finding in of_s3:
                    yield finding
        yield self._clock()

    async def _bounded(self, check: str, finding: Awaitable[Finding]) -> Finding:
        try:
            async with asyncio.timeout(self._patience):
                return await finding
        except TimeoutError:
            return Finding(
                check, Outcome.FAILED, f"no answer within {self._patience:g} seconds", "see if it can be reached"
            )

    # The database

    async def _database(self) -> Finding:
        try:
            await schema.check(self._settings.database_url.get_secret_value())
        except SchemaError as error:
            return Finding("database", Outcome.FAILED, str(error), "run `whaul migrate` unless told otherwise")
        except RegistryUnavailableError as error:
            cause = getattr(error.__cause__, "orig", None) or error.__cause__  # its text may be anything, its class not
            return Finding(
                *("database", Outcome.FAILED, f"it does not answer, or does not let us in ({type(cause).__name__})"),
                "check WHAUL_DATABASE_URL, that the server runs, and the rights on the file",
            )
        return Finding("database", Outcome.OK, f"at revision {schema.HEAD}")

    async def _registry(self, stack: AsyncExitStack) -> Registry:
        settings = self._settings
        url, cipher = settings.database_url.get_secret_value(), stored.cipher(settings)
        opened = open_registry(url, cipher, account_id=settings.account_id, region=settings.region)
        return await stack.enter_async_context(opened)

    # Meta

    async def _meta(self, http: HttpClient, registry: Registry | None) -> AsyncGenerator[Finding]:
        settings = self._settings
        reached = await self._bounded(
            "Graph API", self._reached("Graph API", settings.graph_url, http, "WHAUL_GRAPH_URL")
        )
        yield reached
        if registry is None:
            yield Finding("accounts", Outcome.SKIPPED, "needs the database and the secret key")
            return
        try:
            accounts = await registry.accounts()
        except RegistryUnavailableError:
            yield Finding("accounts", Outcome.FAILED, "the database no longer answers", "see the database")
            return
        if not accounts:
            yield Finding("accounts", Outcome.WARNING, "none is linked", "run `whaul link`")
            return
        if reached.outcome is Outcome.FAILED:
            yield Finding("accounts", Outcome.SKIPPED, f"{len(accounts)} linked; their tokens need the Graph API")
            return
        graph = graph_client(settings, http)
        gate = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

        async def examined(account: LinkedAccount) -> Finding:
            name = f"account {account.meta_waba_id}"
            async with gate:
                return await self._bounded(name, _account(name, account, registry, graph, self._now()))

        tasks = [asyncio.create_task(examined(account)) for account in accounts]
        try:
            for task in tasks:
                yield await task
        finally:
            for task in tasks:
                task.cancel()

    # S3

    async def _s3(self, http: HttpClient, bucket: str | None) -> AsyncGenerator[Finding]:
        chain = CredentialChain(self._patience)
        credentials = await _credentials(chain)
        yield credentials
        try:
            store = s3_store(self._settings, http, chain)
        except SettingsError as error:
            yield Finding("S3 endpoint", Outcome.FAILED, "; ".join(error.problems), "fix the AWS configuration")
            return
        reached = self._reached("S3 endpoint", store.endpoint, http, "AWS_ENDPOINT_URL_S3 and AWS_REGION")
        yield await self._bounded("S3 endpoint", reached)
        if bucket is None:
            yield Finding("bucket", Outcome.SKIPPED, "no write was tried", "name one with --bucket")
        elif credentials.outcome is Outcome.FAILED:
            yield Finding(f"bucket {bucket}", Outcome.SKIPPED, "needs S3 credentials")
        else:
            yield await self._bounded(f"bucket {bucket}", _bucket(bucket, store))

    # What both have

    async def _reached(self, check: str, url: str, http: HttpClient, setting: str) -> Finding:
        """Any answer will do: nobody has asked for anything yet. Its date tells how the clocks stand."""
        try:
            answer = await http.get(Url(url), {"user-agent": self._settings.graph_user_agent})
        except HttpFailure as failure:
            advice = f"check {setting}, DNS, firewall and proxy"
            return Finding(check, Outcome.FAILED, f"{url} cannot be reached: {failure}", advice)
        self._compare_clocks(check, answer)
        if answer.status >= 500:
            return Finding(check, Outcome.FAILED, f"{url} answers with HTTP status {answer.status}", "try again later")
        return Finding(check, Outcome.OK, f"{url} answers")

    def _compare_clocks(self, whose: str, answer: Answer) -> None:
        try:
            told = parsedate_to_datetime(answer.headers["date"])
            self._skews[whose] = (self._now() - told).total_seconds()
        except (KeyError, ValueError, TypeError):
            return  # no date, or none that can be compared

    def _clock(self) -> Finding:
        if not self._skews:
            return Finding("clock", Outcome.SKIPPED, "nobody told the time to compare it with")
        whose, skew = max(self._skews.items(), key=lambda known: abs(known[1]))
        if abs(skew) <= LARGEST_SKEW:
            return Finding("clock", Outcome.OK, f"within {LARGEST_SKEW:.0f} seconds of others")
        direction = "ahead of" if skew > 0 else "behind"
        return Finding("clock", Outcome.FAILED, f"{abs(skew):.0f} seconds {direction} the {whose}'s", SET_THE_CLOCK)


def _settings_findings(settings: Settings) -> Iterator[Finding]:
    """What is unsafe, if on purpose; that they can be read at all is known by now."""
    unsafe = []
    if settings.auth == "none":
        unsafe.append(("WHAUL_AUTH=none lets in everybody who reaches the port", "unset it, outside of development"))
    default = Settings.model_fields["media_hosts"].default
    others = [host for host in settings.media_hosts if host not in default]
    if others:
        advice = "list only hosts of Meta, or of a simulator"
        unsafe.append((f"tokens may be sent to {', '.join(others)} (WHAUL_MEDIA_HOSTS)", advice))
    if settings.graph_url != Settings.model_fields["graph_url"].default:
        advice = "unset it, unless it is a proxy or a simulator of yours"
        unsafe.append((f"tokens are sent to {settings.graph_url} (WHAUL_GRAPH_URL)", advice))
    path = None if settings.secret_key else key_file(settings.database_url.get_secret_value())
    if path is not None and os.path.exists(path):  # noqa: PTH110 - a folder that may not be looked into is no error
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            unsafe.append((f"users besides its owner may use {path} (mode {mode:04o})", f"run: chmod 600 {path}"))
    for detail, advice in unsafe:
        yield Finding("settings", Outcome.WARNING, detail, advice)
    if not unsafe:
        yield Finding("settings", Outcome.OK, "they can be used, and none is unsafe")


async def _secret_key(registry: Registry) -> Finding:
    try:
        await registry.check_secret_key()
    except SecretKeyError:
        return Finding(
            *("secret key", Outcome.FAILED, "it does not decrypt what is stored"),
            "set WHAUL_SECRET_KEY to the key of this database, or restore its key file",
        )
    except RegistryUnavailableError:
        return Finding("secret key", Outcome.FAILED, "the database no longer answers", "see the database")
    return Finding("secret key", Outcome.OK, "it decrypts what is stored")


async def _account(name: str, account: LinkedAccount, registry: Registry, graph: GraphClient, now: datetime) -> Finding:
    again = f"link it again: whaul link --waba-id {account.meta_waba_id} --token-file FILE"
    if account.has_app_secret:
        again += " --app-secret-file FILE"
    try:
        credentials = await registry.credentials(account.meta_waba_id)
        if credentials is None:
            return Finding(name, Outcome.SKIPPED, "it was unlinked meanwhile")
        found = await graph.account(credentials, account.meta_waba_id)
        expires_at = await graph.token_expiry(credentials, account.token_expires_at)
    except SecretKeyError:
        return Finding(name, Outcome.SKIPPED, "the secret key does not decrypt its token")
    except RegistryUnavailableError:
        return Finding(name, Outcome.FAILED, "the database no longer answers", "see the database")
    except ApiError as error:
        advice = "try again later" if error.retry is Retry.YES else again
        return Finding(name, Outcome.FAILED, error.message, advice)
    return _expiry(name, expires_at, now, again) or _numbers(name, account, found, again)


def _expiry(name: str, expires_at: datetime | None, now: datetime, again: str) -> Finding | None:
    """Tell of a token that has ended, or soon will."""
    if expires_at is None or expires_at - now >= EXPIRES_SOON:
        return None
    if expires_at <= now:
        return Finding(name, Outcome.FAILED, f"the token expired at {expires_at:%Y-%m-%d %H:%M} UTC", again)
    return Finding(name, Outcome.WARNING, f"the token expires at {expires_at:%Y-%m-%d %H:%M} UTC", again)


def _numbers(name: str, account: LinkedAccount, found: MetaAccount, again: str) -> Finding:
    linked = {number.meta_id for number in account.phone_numbers}
    at_meta = {number.meta_id for number in found.phone_numbers}
    if linked != at_meta:
        detail = f"the token is good, but of {len(at_meta)} phone numbers at Meta {len(linked & at_meta)} are linked"
        gone = len(linked - at_meta)
        return Finding(name, Outcome.WARNING, detail + (f", and {gone} that are gone" if gone else ""), again)
    return Finding(name, Outcome.OK, f"the token is good; {len(linked)} phone numbers are linked")


async def _credentials(chain: CredentialChain) -> Finding:
    try:
        source = await chain.source()
    except ApiError as error:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
        return Finding("S3 credentials", Outcome.FAILED, error.message, advice)
    return Finding("S3 credentials", Outcome.OK, f"found by botocore's provider {source}")


async def _bucket(bucket: str, store: S3Store) -> Finding:
    """Write, as the gateway does, and clean up, which the gateway never does."""
    name = f"bucket {bucket}"
    file = S3File(bucket, PROBE_PREFIX + uuid.uuid4().hex)
    info = MediaInfo(mime_type="text/plain", file_size=len(PROBE), sha256=hashlib.sha256(PROBE).digest(), url="")
    elsewhere = ""
    try:
        try:
            await store.put(file, PROBE, info)
        except ApiError as error:
            if error.retry is not Retry.ONCE:
                raise
            elsewhere = error.message
            await store.put(file, PROBE, info)
    except ApiError as error:
        advice = (
            SET_THE_CLOCK
            if "RequestTimeTooSkewed" in error.message
            else "check the bucket's name and s3:PutObject on it"
        )
        return Finding(name, Outcome.FAILED, error.message, advice)
    try:
        await store.delete(file)
    except ApiError as error:
        return Finding(
            *(name, Outcome.WARNING, f"a write succeeded, but {file.key} is left in it. {error.message}"),
            "remove the object; the gateway itself needs no s3:DeleteObject",
        )
    if elsewhere:
        advice = "nothing must be done: each worker asks S3 once. Callers sign for AWS_REGION, too"
        return Finding(name, Outcome.WARNING, f"a write succeeded in another region. {elsewhere}", advice)
    return Finding(name, Outcome.OK, "a write succeeded, and was removed again")

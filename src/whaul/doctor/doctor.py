"""The list of checks, and those of what calls need beyond this machine: the database, Meta, tokens, the clock, S3."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
from email.utils import parsedate_to_datetime

from pyreqwest.http import Url

from whaul import components
from whaul.components import event_store, graph_client, http_client, s3_store
from whaul.doctor import machine
from whaul.doctor.accounts import Choice, examined
from whaul.doctor.findings import Finding, Outcome, failed, ok, skipped, warning
from whaul.doctor.inbound import InboundChecks
from whaul.doctor.openid import openid
from whaul.doctor.traces import traces
from whaul.environment import given_by
from whaul.errors import ApiError, DependencyException, InvalidParametersException, Retry
from whaul.graph.client import GraphClient
from whaul.model import LinkedAccount, MediaInfo, S3File
from whaul.outbound.aws_profile import AwsProfile
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.response import Response
from whaul.registry import schema
from whaul.registry.errors import RegistryError, RegistryUnavailableError, SchemaError, SchemaMissingError
from whaul.registry.registry import Registry, open_registry
from whaul.secrets import SecretKeyError
from whaul.settings import Settings, SettingsError
from whaul.storage.credentials import CredentialChain
from whaul.storage.s3 import S3Store
from whaul.storage.s3_config import profile_region

PATIENCE = 10.0
"""Seconds for each check."""
MAX_SKEW = 300.0
"""Seconds that the clock may be wrong: well below the 15 minutes from which AWS refuses signatures."""
ACCOUNTS_AT_ONCE = 16
PROBE = b"written by whaul doctor\n"
PROBE_PREFIX = ".whaul-doctor-"
SET_THE_CLOCK = "set this machine's clock, for example by NTP: with a wrong clock, signatures are refused"


class Doctor:
    """Checks what the settings name, one thing after the other. A check that fails does not end the others."""

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], datetime],
        patience: float = PATIENCE,
        accounts: Choice = Choice(),  # noqa: B008 - it cannot be changed
    ) -> None:
        """`patience` is seconds for each check; `accounts` are those that Meta is asked about."""
        self._settings = settings
        self._accounts = accounts
        self._now = now
        self._patience = patience
        self._skews: dict[str, float] = {}
        self._graph: GraphClient | None = None
        """None unless it answers."""

    async def findings(self, bucket: str | None) -> AsyncGenerator[Finding]:
        """Yield findings as the checks are made. A write is tried in `bucket`, if one is given."""
        for finding in machine.unsafe_settings(self._settings):
            yield finding
        if self._settings.tls_cert_file is not None:
            yield machine.tls_files(self._settings, self._settings.tls_cert_file, self._now())
        port = await machine.listener(self._settings, self._patience)
        if port is not None:
            yield port
        async with AsyncExitStack() as stack:
            database = await self._bounded("database", self._database())
            yield database
            registry: Registry | None = None
            if database.outcome is Outcome.OK:
                try:
                    registry = await self._registry(stack)
                    yield await self._bounded("secret key", _secret_key(registry))
                    yield await self._bounded("access keys", _access_keys(self._settings, registry, self._now()))
                except SettingsError as error:
                    yield failed("secret key", "; ".join(error.problems), "restore or set the key")
                except RegistryError:
                    yield failed("secret key", "the database no longer answers", "check the database")
            else:
                yield skipped("secret key", "needs the database")
            try:
                http = await stack.enter_async_context(http_client(self._settings))
            except SettingsError as error:
                detail, advice = "; ".join(error.problems), "give the variable a file, or a proxy, that can be used"
                yield failed("certificates and proxies", detail, advice)
                return
            of_traces = traces(os.environ, self._patience)
            for checks in (
                self._meta(http, registry),
                self._inbound(http, registry),
                self._s3(http, bucket),
                openid(self._settings, http, registry),
                of_traces,
            ):
                async with aclosing(checks) as running:
                    async for finding in running:
                        yield finding
        yield self._clock()

    async def _bounded(self, check: str, finding: Awaitable[Finding]) -> Finding:
        try:
            async with asyncio.timeout(self._patience):
                return await finding
        except TimeoutError:
            return failed(check, f"no answer within {self._patience:g} seconds", "check that it can be reached")

    # The database

    async def _database(self) -> Finding:
        url = self._settings.database_url.get_secret_value()
        try:
            revision = await schema.check(url)
        except SchemaMissingError as error:
            return machine.missing_database(url) or _of_schema(error)
        except SchemaError as error:
            return _of_schema(error)
        except RegistryUnavailableError as error:
            cause = getattr(error.__cause__, "orig", None) or error.__cause__  # its text may be anything, its class not
            detail = f"it does not answer, or does not let us in ({type(cause).__name__})"
            advice = "check WHAUL_DATABASE_URL, the server, and the rights on the file"
            return machine.unusable_database(url) or failed("database", detail, advice)
        if revision != schema.HEAD:
            return ok("database", f"at revision {revision} of a newer whaul, which this one can use")
        return machine.unusable_database(url) or ok("database", f"at revision {revision}")

    async def _registry(self, stack: AsyncExitStack) -> Registry:
        settings = self._settings
        url, cipher = settings.database_url.get_secret_value(), components.cipher(settings)
        opened = open_registry(url, cipher, account_id=settings.account_id, region=settings.region)
        return await stack.enter_async_context(opened)

    # Meta

    async def _meta(self, http: HttpClient, registry: Registry | None) -> AsyncGenerator[Finding]:
        settings = self._settings
        reached = await self._bounded(
            "Graph API", self._reached("Graph API", settings.graph_url, http, "WHAUL_GRAPH_URL")
        )
        yield reached
        if reached.outcome is not Outcome.FAILED:
            self._graph = graph_client(settings, http)
        if registry is None:
            yield skipped("accounts", "needs the database and the secret key")
            return
        try:
            accounts, linked = (
                await self._accounts.of(registry.accounts, self._now()),
                await registry.accounts.count(),
            )
        except RegistryUnavailableError:
            yield failed("accounts", "the database no longer answers", "check the database")
            return
        graph = self._graph
        if accounts and graph is None:
            yield skipped("accounts", f"{linked} linked; their tokens need the Graph API")
            return
        if (told := self._accounts.told(len(accounts), linked)) is not None:
            yield told
        gate = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

        async def found(account: LinkedAccount, graph: GraphClient) -> Finding:
            name = f"account {account.meta_waba_id}"
            async with gate:
                return await self._bounded(name, examined(name, account, registry, graph, self._now()))

        tasks = [asyncio.create_task(found(account, graph)) for account in accounts if graph is not None]
        try:
            for task in tasks:
                yield await task
        finally:
            for task in tasks:
                task.cancel()

    # Webhooks and events

    async def _inbound(self, http: HttpClient, registry: Registry | None) -> AsyncGenerator[Finding]:
        if registry is None:
            yield skipped("webhooks", "need the database and the secret key")
            return
        async with event_store(self._settings, seconds=self._patience) as store:
            cipher = components.cipher(self._settings)
            checks = InboundChecks(self._settings, registry, store, cipher, self._bounded)
            async with aclosing(checks.findings(self._graph, http, self._now(), self._accounts)) as of_events:
                async for finding in of_events:
                    yield finding

    # S3

    async def _s3(self, http: HttpClient, bucket: str | None) -> AsyncGenerator[Finding]:
        chain = CredentialChain(self._patience)
        credentials = await _credentials(chain)
        yield credentials
        try:
            store = s3_store(self._settings, http, chain)
        except SettingsError as error:
            yield failed("S3 endpoint", "; ".join(error.problems), "fix the AWS configuration")
            return
        region = _profile_region(self._settings)
        if region is not None:
            yield region
        reached = self._reached("S3 endpoint", store.endpoint, http, "AWS_ENDPOINT_URL_S3 and AWS_REGION")
        yield await self._bounded("S3 endpoint", reached)
        if bucket is None:
            yield skipped("bucket", "no write was tried", "name one with --bucket")
        elif credentials.outcome is Outcome.FAILED:
            yield skipped(f"bucket {bucket}", "needs S3 credentials")
        else:
            yield await self._bounded(f"bucket {bucket}", _bucket(bucket, store))

    # Both

    async def _reached(self, check: str, url: str, http: HttpClient, setting: str) -> Finding:
        """Any response will do. Its date shows whether the clock is right."""
        try:
            response = await http.get(Url(url), {"user-agent": self._settings.graph_user_agent})
        except HttpError as error:
            advice = f"check {setting}, DNS, firewall and proxy"
            return failed(check, f"{url} cannot be reached: {error}", advice)
        self._compare_clocks(check, response)
        if response.status >= 500:
            return failed(check, f"{url} answers with HTTP status {response.status}", "try again later")
        return ok(check, f"{url} answers")

    def _compare_clocks(self, whose: str, response: Response) -> None:
        try:
            told = parsedate_to_datetime(response.headers["date"])
            self._skews[whose] = (self._now() - told).total_seconds()
        except (KeyError, ValueError, TypeError):
            return  # no date, or none that can be compared

    def _clock(self) -> Finding:
        if not self._skews:
            return skipped("clock", "no server sent a date to compare with")
        whose, skew = max(self._skews.items(), key=lambda known: abs(known[1]))
        if abs(skew) <= MAX_SKEW:
            return ok("clock", f"within {MAX_SKEW:.0f} seconds of others")
        direction = "ahead of" if skew > 0 else "behind"
        return failed("clock", f"{abs(skew):.0f} seconds {direction} the {whose}'s", SET_THE_CLOCK)


def _of_schema(error: SchemaError) -> Finding:
    detail, _, advice = str(error).rstrip(".").partition("; ")
    return failed("database", detail, advice)


async def _access_keys(settings: Settings, registry: Registry, now: datetime) -> Finding:
    keys = await registry.access_keys.all()
    usable = [key for key in keys if key.disabled_at is None and (key.expires_at is None or key.expires_at > now)]
    if not usable and settings.auth != "none" and settings.root_access_key_id is None:
        advice = "run `whaul keys create --name NAME --allow-all`, or give --policy"
        return warning("access keys", "none can be used: every call will be refused", advice)
    return ok("access keys", f"{len(usable)} of {len(keys)} can be used")


async def _secret_key(registry: Registry) -> Finding:
    try:
        await registry.check_secret_key()
    except SecretKeyError:
        advice = "set WHAUL_SECRET_KEY to the key of this database, or restore its key file"
        return failed("secret key", "it does not decrypt what is stored", advice)
    except RegistryUnavailableError:
        return failed("secret key", "the database no longer answers", "check the database")
    return ok("secret key", "it decrypts what is stored")


async def _credentials(chain: CredentialChain) -> Finding:
    try:
        source = await chain.source()
    except ApiError as error:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
        return failed("S3 credentials", error.message, advice)
    return ok("S3 credentials", f"found by way of {source}")


def _profile_region(settings: Settings) -> Finding | None:
    """Find a region that the user expects to be used, since all other AWS tools use it."""
    named = profile_region(AwsProfile.load())
    if named in {None, settings.region} or given_by("region", Settings.model_fields["region"]) is not None:
        return None
    detail = f"{settings.region}, the default; the AWS profile's region {named} is not used"
    return warning("region", detail, f"set AWS_REGION={named}: ARNs, signatures and S3 go by it")


async def _bucket(bucket: str, store: S3Store) -> Finding:
    """Write as the gateway does, then remove the object, which the gateway never does."""
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
        if "RequestTimeTooSkewed" in error.message:
            advice = SET_THE_CLOCK
        elif isinstance(error, DependencyException):
            advice = "check the S3 server, and any proxy before it"
        elif isinstance(error, InvalidParametersException):
            advice = (
                "check the bucket's name and the WHAUL_S3_… settings; if S3 refuses checksum headers, set "
                "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
            )
        else:
            advice = "check the bucket's name and s3:PutObject on it"
        return failed(name, error.message, advice)
    try:
        await store.delete(file)
    except ApiError as error:
        detail = f"a write succeeded, but the object {file.key} could not be removed. {error.message}"
        return warning(name, detail, "remove it; the gateway itself does not need s3:DeleteObject")
    if elsewhere:
        advice = "nothing to do: each worker asks S3 once. Callers sign for AWS_REGION, too"
        return warning(name, f"a write succeeded in another region. {elsewhere}", advice)
    return ok(name, "a write succeeded, and was removed again")

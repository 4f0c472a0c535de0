"""Each way in which a set-up can be ill, and what the doctor says of it."""

import asyncio
import email.utils
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from harness.loopback import SILENCE, Answer, Loopback, Received, Reply, reply, s3_refusal
from tools.certificates import Authority
from whaul.auth.policy import ALLOW_ALL
from whaul.components import open_registry
from whaul.console.checkups import Checkups
from whaul.doctor import Choice, Doctor, Finding, Outcome
from whaul.doctor.doctor import ACCOUNTS_AT_ONCE
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
from whaul.registry import schema
from whaul.settings import Settings

pytestmark = pytest.mark.anyio

TOKEN = "made-up-token-of-meta"
S3_SECRET = "made-up-secret-of-s3"
KEY = Fernet.generate_key().decode()
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
DATE = email.utils.format_datetime(NOW, usegmt=True)
WABA = "1001"
ALL = Choice()
REFUSED_TOKEN = reply(401, {"error": {"message": TOKEN, "code": 190}}, date=DATE)


def meta(request: Received) -> Reply:
    """Meta with any account asked for, and one number in each."""
    path = request.target.partition("?")[0].split("/")
    if len(path) < 3:
        return reply(200, {}, date=DATE)
    if path[-1] == "phone_numbers":
        return reply(200, {"data": [{"id": f"{path[-2]}7"}]}, date=DATE)
    return reply(200, {"id": path[-1], "name": "Harbour"}, date=DATE)


def s3(request: Received) -> Reply:
    if request.method == "GET":
        return s3_refusal(403, "AccessDenied", date=DATE)
    return reply(204 if request.method == "DELETE" else 200, date=DATE, etag='"e"')


def refuses(method: str, answer: Reply, otherwise: Callable[[Received], Reply] = s3) -> Answer:
    return lambda request: answer if request.method == method else otherwise(request)


class Clinic:
    """A set-up of loopback servers and a database of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self.database = folder / "whaul.db"
        self.settings: dict[str, Any] = {"secret_key": KEY, "database_url": f"sqlite:///{self.database}", "port": 0}
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)

    def load(self) -> Settings:
        return Settings.load(**self.settings)

    async def link(self, *wabas: str) -> None:
        async with open_registry(self.load()) as registry:
            for waba in wabas:
                numbers = (MetaPhoneNumber(f"{waba}7", "+15550100", "Harbour"),)
                await registry.accounts.link(MetaAccount(waba, "Harbour", numbers), GraphToken(SecretStr(TOKEN)))
            await registry.access_keys.create("key", ALLOW_ALL)

    async def look(
        self,
        graph: Answer = meta,
        store: Answer = s3,
        *,
        bucket: str | None = "inbox",
        patience: float = 10,
        accounts: Choice = ALL,
    ) -> dict[str, Finding]:
        """The findings by name, with servers that answer so."""
        async with Loopback(graph) as graph_server, Loopback(store) as s3_server:
            self.s3_requests = s3_server.requests
            self.graph_requests = graph_server.requests
            self._monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.url)
            self.settings.setdefault("graph_url", graph_server.url)
            return await self.findings(bucket, patience, accounts)

    async def findings(
        self, bucket: str | None = "inbox", patience: float = 10, accounts: Choice = ALL
    ) -> dict[str, Finding]:
        found = [finding async for finding in Doctor(self.load(), lambda: NOW, patience, accounts).findings(bucket)]
        for secret in (TOKEN, S3_SECRET, KEY):
            assert secret not in repr(found)
        assert all(finding.detail for finding in found)
        ill = [f for f in found if f.outcome in {Outcome.FAILED, Outcome.WARNING}]
        assert all(finding.advice for finding in ill), "what to do"
        return {finding.check: finding for finding in found}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an account and a key, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        made = Clinic(patch, tmp_path_factory.mktemp("clinic"))
        asyncio.run(made.link(WABA))
    return made.database


@pytest.fixture
def clinic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, linked: Path) -> Clinic:
    made = Clinic(monkeypatch, tmp_path)
    shutil.copy(linked, made.database)
    return made


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.outcome is Outcome.FAILED}


async def test_a_set_up_that_is_well_has_no_failure_and_leaves_nothing_in_the_bucket(clinic: Clinic) -> None:
    found = await clinic.look()
    assert list(found) == [
        *("settings", "database", "secret key", "access keys", "Graph API", f"account {WABA}", "webhooks"),
        *("S3 credentials", "S3 endpoint", "bucket inbox", "clock"),
    ]
    assert failed(found) == set()
    assert found["S3 credentials"].detail.endswith("env")
    put, delete = [request for request in clinic.s3_requests if request.method != "GET"]
    assert put.target.startswith("/inbox/.whaul-doctor-")
    assert (delete.method, delete.target) == ("DELETE", put.target)


async def test_two_looks_write_two_objects(clinic: Clinic) -> None:
    targets = set()
    for _ in range(2):
        await clinic.look()
        targets |= {request.target for request in clinic.s3_requests if request.method == "PUT"}
    assert len(targets) == 2


async def test_without_a_bucket_nothing_is_written(clinic: Clinic) -> None:
    found = await clinic.look(bucket=None)
    assert found["bucket"].outcome is Outcome.SKIPPED
    assert [request.method for request in clinic.s3_requests] == ["GET"]


# The database and the key


async def test_a_database_that_is_not_there_is_not_made(clinic: Clinic) -> None:
    clinic.database.unlink()
    found = await clinic.look()
    assert failed(found) == {"database"}
    assert "whaul migrate" in found["database"].advice
    assert found["secret key"].outcome is found["accounts"].outcome is Outcome.SKIPPED
    assert not clinic.database.exists()


async def test_a_place_where_no_database_can_be_made_is_named(clinic: Clinic) -> None:
    (clinic.database.parent / "file").touch()
    missing = clinic.database.parent / "none" / "deep" / "whaul.db"
    blocked = clinic.database.parent / "file" / "whaul.db"
    for path, told in ((missing, f"there is none at {missing} yet"), (blocked, "is no folder")):
        clinic.settings["database_url"] = f"sqlite:///{path}"
        found = await clinic.look()
        assert told in found["database"].detail
        assert not missing.parent.exists()
    clinic.settings["database_url"] = f"sqlite:///{clinic.database.parent}"
    assert "is a folder" in (await clinic.look())["database"].detail


AS_NOBODY = """
import os, sys
from whaul.doctor import machine
if os.geteuid() == 0:
    os.setuid(65534)
print(machine.missing_database(sys.argv[1]) or machine.unusable_database(sys.argv[1]))
"""


@pytest.mark.parametrize(("name", "told"), [("new.db", "cannot be made"), ("old.db", "may not write to")])
def test_a_folder_that_may_not_be_written_is_told(name: str, told: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which only its owner may look into
        (Path(folder) / "old.db").touch()
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", AS_NOBODY, f"sqlite:///{folder}/{name}"]
        finding = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        Path(folder).chmod(0o755)
    assert told in finding
    assert folder in finding
    assert "owner" in finding


async def test_without_a_key_that_can_be_used_it_says_how_to_make_one(clinic: Clinic) -> None:
    async with open_registry(clinic.load()) as registry:
        for key in await registry.access_keys.all():
            await registry.access_keys.disable(key.access_key_id)
    found = await clinic.look()
    assert found["access keys"].outcome is Outcome.WARNING
    assert "whaul keys create" in found["access keys"].advice
    clinic.settings |= {"root_access_key_id": "root", "root_secret_access_key": "r" * 40}
    assert (await clinic.look())["access keys"].outcome is Outcome.OK


@pytest.mark.parametrize(("named", "is_told"), [("eu-west-1", True), ("us-east-1", False)])
async def test_a_region_of_the_profile_that_is_not_used_is_told(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, *, is_told: bool
) -> None:
    (tmp_path / "config").write_text(f"[default]\nregion = {named}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    found = await clinic.look()
    assert ("region" in found) == is_told
    if is_told:
        assert named in found["region"].detail
        assert f"AWS_REGION={named}" in found["region"].advice
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert "region" not in await clinic.look()


# The port


async def test_a_port_that_is_free_is_told(clinic: Clinic) -> None:
    async with Loopback(meta) as server:
        port = int(server.url.rpartition(":")[2])
    clinic.settings["port"] = port
    found = await clinic.look()
    assert found["port"].outcome is Outcome.OK
    assert "no server runs there" in found["port"].detail


METRICS = b'# HELP whaul_build_info\nwhaul_build_info{version="0"} 1\n'


def whaul(request: Received, reasons: tuple[str, ...] = ()) -> Reply:
    """A gateway that is asked by a monitor."""
    if request.target == "/metrics":
        return reply(200, METRICS.decode())
    return reply(503 if reasons else 200, {"status": "unavailable" if reasons else "ok", "reasons": list(reasons)})


@pytest.mark.parametrize(
    ("answer", "outcome", "told"),
    [
        (whaul, Outcome.OK, "whaul runs on 127.0.0.1 port"),
        (lambda request: whaul(request, ("No S3 credentials.",)), Outcome.FAILED, "is not ready: No S3 credentials."),
        (lambda _: reply(404, "<html>"), Outcome.FAILED, "another program than whaul"),
        (lambda _: Reply(b"SSH-2.0-OpenSSH_9.2\r\n", closes=True), Outcome.FAILED, "another program than whaul"),
        (lambda _: Reply(b"", closes=True), Outcome.FAILED, "another program than whaul"),
    ],
)
async def test_who_listens_on_the_port_is_told(clinic: Clinic, answer: Answer, outcome: Outcome, told: str) -> None:
    async with Loopback(answer) as server:
        clinic.settings["port"] = int(server.url.rpartition(":")[2])
        found = await clinic.look()
    assert found["port"].outcome is outcome
    assert told in found["port"].detail


async def test_whoever_listens_and_says_nothing_is_not_waited_for_long(clinic: Clinic) -> None:
    async with Loopback(SILENCE) as server:
        clinic.settings["port"] = int(server.url.rpartition(":")[2])
        found = await clinic.look(patience=0.2)
    assert "another program" in found["port"].detail


async def test_an_address_of_another_machine_cannot_be_listened_on(clinic: Clinic) -> None:
    clinic.settings |= {"host": "192.0.2.1", "port": 1}
    found = await clinic.look()
    assert found["port"].outcome is Outcome.FAILED
    assert "WHAUL_HOST" in found["port"].advice


# The database and the key


async def test_a_database_of_an_older_version_wants_to_be_migrated(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    monkeypatch.setattr(schema, "HEAD", "9999")
    found = await clinic.look()
    assert failed(found) == {"database"}
    assert "older whaul" in found["database"].detail


@pytest.mark.parametrize(
    ("oldest", "outcome", "said"),
    [
        ("0001", Outcome.OK, "at revision 9999 of a newer whaul, which this one can use"),
        ("9999", Outcome.FAILED, "run that version or restore a backup"),
    ],
)
async def test_a_newer_database_is_good_if_it_can_be_used(
    clinic: Clinic, oldest: str, outcome: Outcome, said: str
) -> None:
    with closing(sqlite3.connect(clinic.database)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.execute("UPDATE schema_compatibility SET oldest_revision = ?", (oldest,))
    found = (await clinic.look())["database"]
    assert (found.outcome, found.advice or found.detail) == (outcome, said)


async def test_what_is_no_database_is_told(clinic: Clinic) -> None:
    clinic.database.write_bytes(b"no database at all, but long enough for a header" * 50)
    found = await clinic.look()
    assert failed(found) == {"database"}
    assert "WHAUL_DATABASE_URL" in found["database"].advice


async def test_a_database_server_that_is_not_there_is_told(clinic: Clinic, nobody: str) -> None:
    clinic.settings["database_url"] = f"postgresql://whaul:hunter2@{nobody}/whaul"
    found = await clinic.look()
    assert failed(found) == {"database"}
    assert "hunter2" not in repr(found)


async def test_a_database_that_goes_in_between_keeps_nothing_else_from_being_looked_at(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    clinic.settings["graph_url"] = f"http://{nobody}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{nobody}")
    found = {}
    async for finding in Doctor(clinic.load(), lambda: NOW).findings(None):
        found[finding.check] = finding.outcome
        if finding.check == "database":
            clinic.database.unlink()
    assert (found["secret key"], found["accounts"]) == (Outcome.FAILED, Outcome.SKIPPED)
    assert found["S3 credentials"] is Outcome.OK


async def test_a_key_of_another_database_is_told_and_not_blamed_on_the_tokens(clinic: Clinic) -> None:
    clinic.settings["secret_key"] = Fernet.generate_key().decode()
    found = await clinic.look()
    assert failed(found) == {"secret key"}
    assert "WHAUL_SECRET_KEY" in found["secret key"].advice
    account = found[f"account {WABA}"]
    assert (account.outcome, account.advice) == (Outcome.SKIPPED, ""), "linking it again does not help"


async def test_a_key_file_that_is_gone_is_told_and_no_other_is_made(clinic: Clinic) -> None:
    clinic.settings["secret_key"] = None
    found = await clinic.look()
    assert "secret key" in failed(found)
    assert "restore" in found["secret key"].detail
    assert not clinic.database.with_name("whaul.db.key").exists()
    assert found["S3 endpoint"].outcome is Outcome.OK, "the rest is looked at all the same"


async def test_a_key_file_that_everybody_reads_fails_and_one_that_the_group_reads_warns(clinic: Clinic) -> None:
    clinic.settings["secret_key"] = None
    path = clinic.database.with_name("whaul.db.key")
    path.write_text(KEY, encoding="utf-8")
    path.chmod(0o640)
    found = await clinic.look()
    assert failed(found) == set()
    assert "chmod 600" in repr([finding for finding in found.values() if finding.outcome is Outcome.WARNING])
    path.chmod(0o644)
    assert "secret key" in failed(await clinic.look())


# Meta and the accounts


async def test_a_token_that_meta_refuses_is_to_be_linked_again_and_the_others_are_looked_at(clinic: Clinic) -> None:
    await clinic.link("1002", "1003")

    def one_is_bad(request: Received) -> Reply:
        return REFUSED_TOKEN if "/1002" in request.target else meta(request)

    found = await clinic.look(one_is_bad)
    assert failed(found) == {"account 1002"}
    assert "whaul link --waba-id 1002" in found["account 1002"].advice
    assert found["account 1003"].outcome is Outcome.OK


async def test_an_account_that_the_token_may_not_see_is_to_be_linked_again(clinic: Clinic) -> None:
    missing = reply(400, {"error": {"message": "x", "code": 100, "error_subcode": 33}})
    found = await clinic.look(lambda request: missing if WABA in request.target else meta(request))
    assert "whaul link" in found[f"account {WABA}"].advice
    assert failed(found) == {f"account {WABA}"}


@pytest.mark.parametrize(
    ("left", "outcome", "told"),
    [
        (timedelta(days=7), Outcome.OK, "the token is good"),
        (timedelta(days=7, seconds=-1), Outcome.WARNING, "the token expires at 20"),
        (timedelta(0), Outcome.FAILED, "the token expired at 20"),
        (timedelta(days=-40), Outcome.FAILED, "the token expired at 20"),
    ],
)
async def test_a_token_that_ends_soon_is_to_be_linked_again(
    clinic: Clinic, left: timedelta, outcome: Outcome, told: str
) -> None:
    ends = int((NOW + left).timestamp())
    described = reply(200, {"data": {"is_valid": True, "expires_at": 0, "data_access_expires_at": ends}})
    found = await clinic.look(lambda request: described if "debug_token" in request.target else meta(request))
    finding = found[f"account {WABA}"]
    assert finding.outcome is outcome
    assert told in finding.detail
    assert ("whaul link" in finding.advice) == (outcome is not Outcome.OK)


async def test_a_passing_fault_of_meta_is_not_blamed_on_the_token(clinic: Clinic) -> None:
    broken = reply(500, {"error": {"message": "x", "code": 2}})
    found = await clinic.look(lambda request: broken if WABA in request.target else meta(request))
    assert found[f"account {WABA}"].advice == "try again later"


async def test_phone_numbers_that_meta_has_and_whaul_has_not_are_a_warning(clinic: Clinic) -> None:
    two = reply(200, {"data": [{"id": f"{WABA}7"}, {"id": "8"}]})
    found = await clinic.look(lambda request: two if "phone_numbers" in request.target else meta(request))
    assert found[f"account {WABA}"].outcome is Outcome.WARNING
    assert "only 1 of 2 phone numbers at Meta are linked" in found[f"account {WABA}"].detail


async def test_a_set_up_without_accounts_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clinic = Clinic(monkeypatch, tmp_path)
    await clinic.link()
    found = await clinic.look()
    assert found["accounts"].outcome is Outcome.WARNING
    assert "whaul link" in found["accounts"].advice


async def test_a_graph_api_that_is_not_there_is_told_once_and_not_for_each_account(clinic: Clinic, nobody: str) -> None:
    clinic.settings["graph_url"] = f"http://{nobody}"
    found = await clinic.look()
    assert failed(found) == {"Graph API"}
    assert found["accounts"].outcome is Outcome.SKIPPED


async def test_a_graph_api_that_never_answers_is_given_up(clinic: Clinic) -> None:
    found = await clinic.look(SILENCE, patience=2)
    assert failed(found) == {"Graph API"}
    assert "2 seconds" in found["Graph API"].detail


async def test_an_account_whose_answer_never_comes_is_given_up(clinic: Clinic) -> None:
    found = await clinic.look(lambda request: SILENCE if WABA in request.target else meta(request), patience=2)
    assert failed(found) == {f"account {WABA}"}


async def test_many_accounts_are_all_looked_at_some_at_a_time(clinic: Clinic) -> None:
    wabas = [str(number) for number in range(2000, 2000 + 3 * ACCOUNTS_AT_ONCE)]
    await clinic.link(*wabas)
    found = await clinic.look()
    assert {f"account {waba}" for waba in wabas} <= found.keys()
    assert failed(found) == set()
    assert len([r for r in clinic.graph_requests if "phone_numbers" in r.target]) == len(wabas) + 1


async def test_of_many_accounts_some_are_looked_at_and_any_one_that_is_named(clinic: Clinic) -> None:
    await clinic.link("2001", "2002")
    async with open_registry(clinic.load()) as registry:
        ends = MetaAccount("2002", "Harbour", (), token_expires_at=NOW + timedelta(days=1))
        await registry.accounts.link(ends, GraphToken(SecretStr(TOKEN)))
    found = await clinic.look(accounts=Choice(size=2))
    assert {name for name in found if name.startswith("account ")} == {f"account {WABA}", "account 2002"}
    assert found["accounts"].outcome is Outcome.SKIPPED
    assert "about 2 of 3" in found["accounts"].detail
    del clinic.settings["graph_url"]
    found = await clinic.look(accounts=Choice("2001"))
    assert {name for name in found if name.startswith("account")} == {"account 2001"}
    del clinic.settings["graph_url"]
    assert failed(await clinic.look(accounts=Choice("3"))) == {"accounts"}


# S3


async def test_missing_s3_credentials_are_told_and_nothing_is_written(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    found = await clinic.look()
    assert failed(found) == {"S3 credentials"}
    assert found["bucket inbox"].outcome is Outcome.SKIPPED


async def test_a_profile_that_is_not_there_is_told(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    found = await clinic.look()
    assert failed(found) == {"S3 credentials", "S3 endpoint"}
    assert "ProfileNotFound" in found["S3 credentials"].detail
    assert "missing" in found["S3 endpoint"].detail


async def test_an_s3_endpoint_that_is_not_there_is_told(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    async with Loopback(meta) as graph:
        clinic.settings["graph_url"] = graph.url
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{nobody}")
        found = await clinic.findings()
    assert failed(found) == {"S3 endpoint", "bucket inbox"}


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (s3_refusal(404, "NoSuchBucket"), "the bucket's name"),
        (s3_refusal(403, "AccessDenied"), "s3:PutObject"),
        (s3_refusal(403, "RequestTimeTooSkewed"), "clock"),
        (s3_refusal(400, "InvalidArgument"), "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
        (s3_refusal(501, "NotImplemented"), "WHAUL_S3_"),
        (s3_refusal(500, "InternalError"), "the S3 server"),
        (reply(404, "<html>not here"), "proxy"),
    ],
)
async def test_a_refused_write_brings_advice_that_fits_it(clinic: Clinic, answer: Reply, advice: str) -> None:
    found = await clinic.look(store=refuses("PUT", answer))
    assert advice in found["bucket inbox"].advice


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (s3_refusal(404, "NoSuchBucket"), "NoSuchBucket"),
        (s3_refusal(403, "AccessDenied"), "AccessDenied"),
        (s3_refusal(403, "SignatureDoesNotMatch"), "SignatureDoesNotMatch"),
        (s3_refusal(400, "InvalidBucketName"), "InvalidBucketName"),
        (reply(500), "500"),
    ],
)
async def test_a_write_that_the_store_refuses_is_told_with_its_code(clinic: Clinic, answer: Reply, told: str) -> None:
    found = await clinic.look(store=refuses("PUT", answer))
    assert failed(found) == {"bucket inbox"}
    assert told in found["bucket inbox"].detail
    assert not [request for request in clinic.s3_requests if request.method == "DELETE"]


async def test_an_object_that_may_not_be_removed_is_named(clinic: Clinic) -> None:
    found = await clinic.look(store=refuses("DELETE", s3_refusal(403, "AccessDenied")))
    assert failed(found) == set()
    assert found["bucket inbox"].outcome is Outcome.WARNING
    put = next(request for request in clinic.s3_requests if request.method == "PUT")
    assert put.target.rpartition("/")[2] in found["bucket inbox"].detail


async def test_a_bucket_of_another_region_is_found_and_told(clinic: Clinic) -> None:
    elsewhere = s3_refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1")

    def regional(request: Received) -> Reply:
        right = "/eu-west-1/s3/" in request.headers.get("authorization", "")
        return s3(request) if right or request.method == "GET" else elsewhere

    found = await clinic.look(store=regional)
    assert found["bucket inbox"].outcome is Outcome.WARNING
    assert "eu-west-1" in found["bucket inbox"].detail
    assert [request.method for request in clinic.s3_requests][-3:] == ["PUT", "PUT", "DELETE"]


async def test_certificates_that_cannot_be_read_are_told(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(clinic.database.with_name("missing.pem")))
    assert failed(await clinic.look()) == {"certificates and proxies"}


@pytest.mark.parametrize(
    ("days", "told"), [(0, "expires on"), (-2, "valid only from"), (2, "has expired"), (None, "no certificate")]
)
async def test_the_servers_own_certificate_is_looked_at(
    clinic: Clinic, tmp_path: Path, days: int | None, told: str
) -> None:
    own, file = Authority("localhost", ca=False), tmp_path / "server.pem"
    file.write_bytes(own.key_pem + (own.pem if days is not None else b""))
    settings = Settings.load(**clinic.settings, tls_cert_file=file, tls_key_file=file)
    now = datetime.now(UTC) + timedelta(days=days or 0)
    findings = [finding async for finding in Doctor(settings, lambda: now, 10).findings(None)]
    (finding,) = [finding for finding in findings if finding.check == "TLS certificate"]
    assert told in finding.detail
    assert str(file) in finding.detail
    assert finding.outcome is (Outcome.WARNING if days == 0 else Outcome.FAILED)


# The clock


@pytest.mark.parametrize(("seconds", "told"), [(301, "behind"), (-301, "ahead of"), (86_400, "behind")])
@pytest.mark.parametrize("server", ["graph", "store"])
async def test_a_clock_that_is_off_fails(clinic: Clinic, server: str, seconds: int, told: str) -> None:
    other = email.utils.format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    answers = {server: lambda request: with_date((meta if server == "graph" else s3)(request), other)}
    found = await clinic.look(**answers)
    assert failed(found) == {"clock"}
    assert told in found["clock"].detail


@pytest.mark.parametrize("seconds", [0, 299, -299])
async def test_a_clock_that_is_off_a_little_is_well(clinic: Clinic, seconds: int) -> None:
    other = email.utils.format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    found = await clinic.look(lambda request: with_date(meta(request), other))
    assert found["clock"].outcome is Outcome.OK


@pytest.mark.parametrize("date", ["", "yesterday", "25 Nov 2026 12:00:00", "Wed, 99 Nov 2026 12:00:00 GMT"])
async def test_a_date_that_says_nothing_is_not_compared(clinic: Clinic, date: str) -> None:
    found = await clinic.look(
        lambda request: with_date(meta(request), date), lambda request: with_date(s3(request), date)
    )
    assert found["clock"].outcome is Outcome.SKIPPED


async def test_a_store_that_finds_the_clock_off_is_believed(clinic: Clinic) -> None:
    found = await clinic.look(store=refuses("PUT", s3_refusal(403, "RequestTimeTooSkewed")))
    assert "clock" in found["bucket inbox"].advice


def with_date(answer: Reply, date: str) -> Reply:
    return Reply(answer.data.replace(f"date: {DATE}\r\n".encode(), f"date: {date}\r\n".encode() if date else b""))


# The settings


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("auth", "none", "WHAUL_AUTH"),
        ("media_hosts", "lookaside.fbsbx.com,evil.example", "evil.example"),
        ("graph_url", "https://proxy.invalid", "WHAUL_GRAPH_URL"),
    ],
)
async def test_a_setting_that_is_unsafe_is_a_warning(clinic: Clinic, setting: str, value: str, told: str) -> None:
    clinic.settings[setting] = value
    settings = clinic.load()
    doctor = Doctor(settings, lambda: NOW)
    findings = doctor.findings(None)
    first = [await anext(findings), await anext(findings)]
    await findings.aclose()
    warnings = [finding for finding in first if finding.outcome is Outcome.WARNING]
    assert any(told in finding.detail for finding in warnings)


async def test_in_the_console_checks_end_in_time_and_one_who_asks_meanwhile_is_refused(clinic: Clinic) -> None:
    clinic.settings["graph_url"] = "http://127.0.0.1:1"
    checkups = Checkups(limit=0)
    assert await checkups.run(clinic.load(), None)
    assert checkups.latest is not None
    assert not checkups.latest.is_whole
    first = asyncio.create_task(checkups.run(clinic.load(), None))
    await asyncio.sleep(0)  # it has begun
    assert not await checkups.run(clinic.load(), None)
    assert await first
    assert await checkups.run(clinic.load(), None)

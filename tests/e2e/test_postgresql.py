"""Gateways on one PostgreSQL: changes are in force everywhere, and an outage of the database is no outage of theirs."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet

from harness.database_proxy import DatabaseProxy, database_proxy
from harness.waiting import PATIENCE, eventually
from harness.world import Gateway, Key, World
from tools.certificates import Certificates, make_certificates
from tools.postgresql import PostgresqlServer
from whaul.registry.errors import RegistryUnavailableError
from whaul.simulator import Simulator
from whaul.stack.processes import answers

PDF = "100000000000003"
GET_MEDIA = "social-messaging:GetWhatsAppMessageMedia"
SECOND_ACCOUNT = ["--waba-id", "900", "--no-verify", "--name", "Second", "--phone-number", "901=+15550199"]


@pytest.fixture(scope="module")
def shared(
    world: World, postgresql: PostgresqlServer, postgresql_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The simulated account, linked in a PostgreSQL that all tests of this module share."""
    name = postgresql.create_database(postgresql_template)
    environ = world.environ | {
        "WHAUL_DATABASE_URL": postgresql.url(name),
        "WHAUL_SECRET_KEY": Fernet.generate_key().decode(),
    }
    shared = World(world.simulator, environ, tmp_path_factory.mktemp("postgresql"))
    shared.link()
    yield shared
    postgresql.drop_database(name)


@pytest.fixture
def proxy(postgresql: PostgresqlServer) -> Iterator[DatabaseProxy]:
    with database_proxy(postgresql.port) as proxy:
        yield proxy


def code_of(call: Callable[[], object]) -> str:
    """The error code of a call; "ok" when it passes."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


class Load:
    """Calls that must pass, over and over, on all gateways at once."""

    def __init__(self, gateways: list[Gateway], call: Callable[[Gateway], object]) -> None:
        self.failures: list[str] = []
        self.passed = [0] * len(gateways)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i, each, call)) for i, each in enumerate(gateways)]

    def _run(self, number: int, gateway: Gateway, call: Callable[[Gateway], object]) -> None:
        while not self._ended.wait(0.1):
            code = code_of(lambda: call(gateway))
            if code == "ok":
                self.passed[number] += 1
            else:
                self.failures.append(code)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.long
def test_all_processes_see_a_disabled_key_a_narrowed_policy_and_a_new_token(
    shared: World, simulator: Simulator
) -> None:
    doomed, narrowed = shared.make_key("--allow-all"), shared.make_key("--allow-all")
    second = shared.whaul("link", *SECOND_ACCOUNT, WHATSAPP_ACCESS_TOKEN="an-old-token")["account"]
    second_number = second["phoneNumbers"][0]["phoneNumberId"]

    def get(gateway: Gateway, key: Key | None = None, number: str = "") -> object:
        number = number or shared.phone_number_id
        return gateway.get(PDF, key=key, metadataOnly=True, originationPhoneNumberId=number)

    with ExitStack() as stack:
        gateways = [stack.enter_context(shared.gateway()) for _ in range(2)]
        for gateway in gateways:
            get(gateway, doomed)
            get(gateway, narrowed)
            # So often that the number rests: a new token ends that too.
            refusals = {code_of(lambda g=gateway: get(g, number=second_number)) for _ in range(21)}
            assert refusals == {"AccessDeniedByMetaException"}
        load = stack.enter_context(Load(gateways, get))
        allowed = stack.enter_context(Load(gateways, lambda g: get(g, narrowed, shared.other_phone_number_id)))
        changes = [
            ("UnrecognizedClientException", lambda g: get(g, doomed)),
            ("AccessDeniedException", lambda g: get(g, narrowed)),
            ("ok", lambda g: get(g, number=second_number)),
        ]
        other = shared.phone_number_arn.rpartition("/")[0] + "/" + shared.other_phone_number_id.rpartition("-")[2]
        policy = shared.policy_file({"Effect": "Allow", "Action": GET_MEDIA, "Resource": other})
        commands = [
            (("keys", "disable", doomed.id), {}),
            (("keys", "policy", narrowed.id, str(policy)), {}),
            (("link", *SECOND_ACCOUNT), {"WHATSAPP_ACCESS_TOKEN": simulator.token}),
        ]
        for (arguments, environ), (code, call) in zip(commands, changes, strict=True):
            shared.do(*arguments, **environ)
            for gateway in gateways:
                eventually(lambda g=gateway, c=call, w=code: code_of(lambda: c(g)) == w)
        # In force, and for good.
        for code, call in changes * 2:
            assert [code_of(lambda g=gateway, c=call: c(g)) for gateway in gateways] == [code] * 2
        before = load.passed.copy()
        eventually(lambda: all(now > then for now, then in zip(load.passed, before, strict=True)))
    assert load.failures == []
    assert allowed.failures == []
    assert min(allowed.passed) > 0


@pytest.mark.long
@pytest.mark.parametrize("how", ["cut", "stall"])
def test_a_gateway_goes_on_while_its_database_is_away_and_finds_it_when_it_is_back(
    shared: World, postgresql: PostgresqlServer, proxy: DatabaseProxy, how: str
) -> None:
    url = shared.environ["WHAUL_DATABASE_URL"]
    unknown = shared.make_key("--allow-all")
    through = url.replace(f":{postgresql.port}/", f":{proxy.port}/")
    with shared.gateway(WHAUL_DATABASE_URL=through) as gateway:
        gateway.get(PDF, metadataOnly=True)
        assert readiness(gateway) == (200, [])
        with Load([gateway], lambda g: g.get(PDF, metadataOnly=True)) as load:
            getattr(proxy, how)()
            eventually(lambda: "the database does not answer" in gateway.log.read_text())
            then = load.passed[0]
            eventually(lambda: load.passed[0] > then + 5)
            assert code_of(lambda: gateway.get(PDF, key=unknown, metadataOnly=True)) == "ServiceUnavailable"
            assert readiness(gateway) == (503, ["The registry's database did not answer."])
            proxy.restore()
            eventually(lambda: code_of(lambda: gateway.get(PDF, key=unknown, metadataOnly=True)) == "ok")
            eventually(lambda: "the database answers again" in gateway.log.read_text())
            eventually(lambda: readiness(gateway) == (200, []))
            shared.do("keys", "disable", unknown.id)
            refused = "UnrecognizedClientException"
            eventually(lambda: code_of(lambda: gateway.get(PDF, key=unknown, metadataOnly=True)) == refused)
    assert load.failures == []
    log = gateway.log.read_text()
    assert log.count("the database does not answer") == log.count("the database answers again") == 1
    assert postgresql.password not in log


def test_while_the_database_is_read_only_media_pass_and_changes_are_refused(
    shared: World, postgresql: PostgresqlServer
) -> None:
    database = shared.environ["WHAUL_DATABASE_URL"].rpartition("/")[2]

    def tag(gateway: Gateway) -> str:
        arn = shared.phone_number_arn
        return code_of(lambda: gateway.client().tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}]))

    postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    try:
        with shared.gateway() as gateway:
            assert tag(gateway) == "ServiceUnavailable"
            assert code_of(lambda: gateway.get(PDF, metadataOnly=True)) == "ok"
            refused = shared.run("keys", "create", "--name", "x", "--allow-all")
            assert (refused.returncode, "read-only transaction" in refused.stderr) == (1, True)
            postgresql.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
            eventually(lambda: tag(gateway) == "ok")
    finally:
        postgresql.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")


@pytest.mark.long
@pytest.mark.parametrize("how", ["cut", "stall"])
def test_a_worker_that_crashes_while_the_database_is_away_ends_no_other_and_comes_back(
    shared: World, postgresql: PostgresqlServer, proxy: DatabaseProxy, how: str
) -> None:
    url = shared.environ["WHAUL_DATABASE_URL"].replace(f":{postgresql.port}/", f":{proxy.port}/")
    with shared.gateway(WHAUL_DATABASE_URL=url) as gateway:
        gateway.get(PDF, metadataOnly=True)
        getattr(proxy, how)()
        (worker,) = re.findall(r"Spawning worker-1 with PID: (\d+)", gateway.log.read_text())
        os.kill(int(worker), signal.SIGKILL)
        eventually(lambda: "this worker waits for it" in gateway.log.read_text())
        proxy.restore()
        eventually(
            lambda: answers(f"{gateway.url}/healthz") and code_of(lambda: gateway.get(PDF, metadataOnly=True)) == "ok"
        )
    assert "crash loop" not in gateway.log.read_text()


def readiness(gateway: Gateway) -> tuple[int, list[str]]:
    try:
        with urlopen(f"{gateway.url}/readyz", timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)["reasons"]
    except HTTPError as error:
        return error.code, json.load(error)["reasons"]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.mark.parametrize(
    ("host", "options", "said"),
    [
        ("localhost", "sslmode=verify-full&sslrootcert={authority}", None),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={authority}", None),
        ("localhost", "sslmode=require", None),
        ("localhost", "sslmode=verify-full&sslrootcert={other}", "certificate verify failed"),
        ("localhost", "sslmode=verify-full&sslrootcert=system", "certificate verify failed"),
        ("localhost", "sslmode=require&sslrootcert={other}", "certificate verify failed"),
        ("localhost", "sslmode=disable", ""),
    ],
)
def test_the_database_is_reached_over_tls_as_the_url_says(
    shared: World,
    postgresql: PostgresqlServer,
    certificates: Certificates,
    tmp_path: Path,
    *,
    host: str,
    options: str,
    said: str | None,
) -> None:
    (tmp_path / "other").mkdir()
    authority, other = certificates.authority, make_certificates(tmp_path / "other").authority
    with database_proxy(postgresql.port, certificates.server_context()) as proxy:
        url = shared.environ["WHAUL_DATABASE_URL"].replace(f"127.0.0.1:{postgresql.port}", f"{host}:{proxy.port}")
        url = f"{url}?{options.format(authority=authority, other=other)}"
        if said is None:
            shared.do("accounts", WHAUL_DATABASE_URL=url)
        else:
            with pytest.raises(RegistryUnavailableError) as refused:
                shared.do("accounts", WHAUL_DATABASE_URL=url)
            assert said in refused.value.reason
            assert postgresql.password not in refused.value.reason


@pytest.mark.parametrize("sslmode", ["require", "verify-full&sslrootcert=system"])
def test_a_database_without_tls_is_refused_where_tls_is_required(
    shared: World, postgresql: PostgresqlServer, sslmode: str
) -> None:
    url = f"{shared.environ['WHAUL_DATABASE_URL']}?sslmode={sslmode}"
    with pytest.raises(RegistryUnavailableError) as refused:
        shared.do("accounts", WHAUL_DATABASE_URL=url)
    assert "SSL" in refused.value.reason
    assert postgresql.password not in refused.value.reason


def test_a_wrong_password_is_told_and_no_password_shown(shared: World, postgresql: PostgresqlServer) -> None:
    url = shared.environ["WHAUL_DATABASE_URL"].replace(postgresql.password, "wrong-password-of-whaul")
    for command in (["accounts"], ["serve", "--port", "0"], ["migrate"]):
        done = shared.run(*command, WHAUL_DATABASE_URL=url)
        assert done.returncode == 1
        assert "password authentication failed" in done.stderr
        assert "wrong-password-of-whaul" not in done.stderr + done.stdout


def test_a_socket_in_a_folder_is_reached_too(shared: World, postgresql: PostgresqlServer) -> None:
    user, _, database = shared.environ["WHAUL_DATABASE_URL"].partition("@")
    name = database.rpartition("/")[2]
    url = f"{user}@/{name}?host={postgresql.folder}&port={postgresql.port}"
    shared.do("accounts", WHAUL_DATABASE_URL=url)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "an older whaul; run `whaul migrate`"),
        ("UPDATE alembic_version SET version_num = '9999'", "a newer whaul; run that version"),
    ],
)
def test_serve_refuses_another_schema_and_says_what_to_run(
    shared: World, postgresql: PostgresqlServer, postgresql_url: str, change: str, said: str
) -> None:
    database = postgresql_url.rpartition("/")[2]
    postgresql.execute(change, database)
    postgresql.execute("UPDATE schema_compatibility SET oldest_revision = '9999'", database)
    done = shared.run("serve", "--port", "0", WHAUL_DATABASE_URL=postgresql_url)
    assert done.returncode == 1
    assert said in done.stderr


def test_serve_refuses_a_wrong_secret_key(shared: World) -> None:
    done = shared.run("serve", "--port", "0", WHAUL_SECRET_KEY=Fernet.generate_key().decode())
    assert done.returncode == 1
    assert "the secret key does not decrypt what is stored; check WHAUL_SECRET_KEY" in done.stderr


@pytest.mark.long
def test_the_secret_key_changes_step_by_step_without_a_failed_call(
    shared: World, postgresql_url: str, tmp_path: Path
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    environ = shared.environ | {"WHAUL_DATABASE_URL": postgresql_url, "WHAUL_SECRET_KEY": old}
    rotated = World(shared.simulator, environ, tmp_path)
    rotated.link()
    with rotated.gateway(WHAUL_SECRET_KEY=f"{old},{new}") as running:
        with Load([running], lambda g: g.get(PDF, metadataOnly=True)) as load:
            done = rotated.run("rotate-secrets", WHAUL_SECRET_KEY=f"{new},{old}")
            assert done.stdout.startswith("3 secrets were re-encrypted"), done.stderr
            rotated.environ["WHAUL_SECRET_KEY"] = f"{old},{new}"
            key = rotated.make_key("--allow-all")  # by one who has the old key in front still
            running.get(PDF, key=key, metadataOnly=True)
        assert load.failures == []
    assert rotated.run("rotate-secrets", WHAUL_SECRET_KEY=f"{new},{old}").stdout.startswith("1 secret was")
    with rotated.gateway(WHAUL_SECRET_KEY=new) as running:
        running.get(PDF, key=rotated.key, metadataOnly=True)
        running.get(PDF, key=key, metadataOnly=True)

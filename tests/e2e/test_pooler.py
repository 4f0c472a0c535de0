"""Everything through PgBouncer in transaction mode, where each transaction may meet another session of the server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet

from harness.waiting import eventually
from harness.world import World
from tools.postgresql import PostgresqlServer

pytestmark = pytest.mark.long

PDF = "100000000000003"


@pytest.fixture(scope="module")
def pooled(
    world: World, postgresql: PostgresqlServer, pooler_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The simulated account, linked in a database that only the pooler is asked about, from its first table on."""
    name = postgresql.create_database()
    environ = world.environ | {
        "WHAUL_DATABASE_URL": postgresql.url(name, pooler_port),
        "WHAUL_SECRET_KEY": Fernet.generate_key().decode(),
    }
    pooled = World(world.simulator, environ, tmp_path_factory.mktemp("pooled"))
    done = pooled.run("migrate")
    assert done.returncode == 0, done.stderr
    pooled.link()
    yield pooled
    postgresql.drop_database(name)


def test_two_gateways_read_and_write_at_once(pooled: World) -> None:
    with pooled.gateway() as one, pooled.gateway() as other:
        arn = one.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["arn"]
        for number in range(20):
            writer, reader = (one, other) if number % 2 else (other, one)
            writer.get(PDF, metadataOnly=True)
            writer.client().tag_resource(resourceArn=arn, tags=[{"key": "turn", "value": str(number)}])
            tags = reader.client().list_tags_for_resource(resourceArn=arn)["tags"]
            assert tags == [{"key": "turn", "value": str(number)}]
        writer.client().untag_resource(resourceArn=arn, tagKeys=["turn"])
        accounts: list[dict[str, Any]] = reader.client().list_linked_whatsapp_business_accounts()["linkedAccounts"]
        assert [account["arn"] for account in accounts] == [arn]


def test_sessions_that_the_pooler_lost_are_replaced(pooled: World, postgresql: PostgresqlServer) -> None:
    database = pooled.environ["WHAUL_DATABASE_URL"].rpartition("/")[2]
    with pooled.gateway() as gateway:
        account = gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]

        def outcome() -> str:
            try:
                gateway.client().tag_resource(resourceArn=account["arn"], tags=[{"key": "again", "value": "1"}])
            except ClientError as error:
                return str(error.response["Error"]["Code"])
            return "ok"

        assert outcome() == "ok"
        postgresql.end_sessions(database)
        outcomes = []
        eventually(lambda: outcomes.append(outcome()) or outcomes[-1] == "ok")
        assert set(outcomes[:-1]) <= {"ServiceUnavailable"}


def test_every_command_works(pooled: World, tmp_path: Path) -> None:
    key = pooled.make_key("--allow-all", "--expires-in", "1h")
    policy = str(pooled.policy_file({"Effect": "Allow", "Action": "*", "Resource": "*"}))
    commands = [
        ["migrate"],
        ["accounts"],
        ["link", "--waba-id", "900", "--no-verify", "--name", "Second", "--phone-number", "901=+15550199"],
        ["unlink", "900", "--yes"],
        ["keys", "list"],
        ["keys", "policy", key.id, policy],
        ["keys", "limit", key.id, "--rate-limit", "5"],
        ["keys", "disable", key.id],
        ["get", "--phone-number-id", pooled.phone_number_id, "--to", str(tmp_path), PDF],
        ["rotate-secrets"],
    ]
    for command in commands:
        done = pooled.run(*command)
        assert done.returncode == 0, (command, done.stderr)
    checks = {check["check"]: check["outcome"] for check in json.loads(pooled.run("doctor", "--json").stdout)["checks"]}
    assert (checks["database"], checks["secret key"]) == ("ok", "ok")

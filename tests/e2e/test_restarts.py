"""Servers behind a real nginx, upgraded in turn under load. `./run restarts` does it longer."""

import os
from pathlib import Path

import pytest

from harness.world import World
from tools.restarts.fleet import Caller, Load, fleet
from tools.restarts.nginx import NginxMissingError, nginx, nginx_program
from tools.restarts.release import NEXT_REVISION, migrate, next_release
from whaul.stack.processes import free_ports

pytestmark = pytest.mark.long

PDF = "100000000000003"


@pytest.fixture(scope="module", autouse=True)
def _nginx() -> None:
    try:
        nginx_program()
    except NginxMissingError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED: RESTARTS BEHIND NGINX. {missing}")


def test_no_call_fails_while_servers_are_restarted_and_upgraded_behind_nginx(world: World, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'whaul.db'}"
    own = World(world.simulator, world.environ | {"WHAUL_DATABASE_URL": url}, tmp_path)
    own.link()
    environ = own.environ | {"WHAUL_SHUTDOWN_NOTICE": "0.5"}
    request = {"mediaId": PDF, "originationPhoneNumberId": own.phone_number_id, "metadataOnly": True}
    release = next_release(tmp_path / "next", additive=True)
    with free_ports(3) as ports, fleet(ports, environ, tmp_path) as servers, nginx(tmp_path, ports) as balancer:
        calls = [("get_whatsapp_message_media", request)]
        with Load(Caller(balancer, own.key.id, own.key.secret, calls), callers=4) as load:
            migrate(environ | release)
            servers[0].restart(group=False)  # the old release, on the newer schema
            for server, group in zip(servers, (False, True, True), strict=True):
                server.environ |= release
                server.restart(group=group)
        assert load.failures == {}
        assert load.calls > len(servers)
        assert (
            own.run("migrate").stdout
            == f"The database is at revision {NEXT_REVISION} of a newer whaul, which this one can use.\n"
        )

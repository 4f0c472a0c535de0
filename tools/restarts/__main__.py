"""`./run restarts`: restart three servers behind nginx in turn, under load, and count the calls that fail.

First with SIGTERM to the main process, then to the process group, as systemd sends it; at last each is upgraded to a
release with a newer schema, to which the database is migrated while the old ones serve. Exits with 1 if a call failed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tools.restarts.fleet import Caller, Load, Server, fleet
from tools.restarts.nginx import nginx
from tools.restarts.release import migrate, next_release
from whaul.simulator import simulator_in_thread
from whaul.stack.local import REGION, clean_environment, whaul
from whaul.stack.processes import free_ports

SERVERS = 3
MEDIA_SIZE = 100_000


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; print it; give the exit code."""
    parser = argparse.ArgumentParser(prog="./run restarts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="restarts of each server, either way (default: 10)")
    parser.add_argument("--notice", type=float, default=15, help="WHAUL_SHUTDOWN_NOTICE (default: 15)")
    parser.add_argument("--workers", type=int, default=1, help="WHAUL_WORKERS (default: 1)")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whaul-restarts-")))
        simulator = stack.enter_context(simulator_in_thread())
        environ = clean_environment() | {
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "unused",
            "AWS_SECRET_ACCESS_KEY": "unused",
            "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
            "WHAUL_GRAPH_URL": simulator.url,
            "WHAUL_MEDIA_HOSTS": "127.0.0.1",
            "WHAUL_SHUTDOWN_NOTICE": f"{chosen.notice:g}",
            "WHAUL_WORKERS": str(chosen.workers),
            "WHATSAPP_ACCESS_TOKEN": simulator.token,
        }
        account = whaul(["link", "--waba-id", simulator.waba_id], environ)["account"]
        key = whaul(["keys", "create", "--name", "caller", "--allow-all"], environ)
        request = {
            "mediaId": simulator.add_generated(MEDIA_SIZE, "image/png"),
            "originationPhoneNumberId": account["phoneNumbers"][0]["phoneNumberId"],
            "metadataOnly": True,
        }
        ports = stack.enter_context(free_ports(SERVERS))
        servers = stack.enter_context(fleet(ports, environ, folder))
        url = stack.enter_context(nginx(folder, ports))
        caller = Caller(url, key["accessKeyId"], key["secretAccessKey"], [("get_whatsapp_message_media", request)])
        failed = _restarted(servers, caller, chosen.rounds, group=False)
        failed += _restarted(servers, caller, chosen.rounds, group=True)
        failed += _upgraded(servers, caller, next_release(folder / "next", additive=True))
    return 1 if failed else 0


def _restarted(servers: Sequence[Server], caller: Caller, rounds: int, *, group: bool) -> int:
    started = time.monotonic()
    with Load(caller) as load:
        for _ in range(rounds):
            for server in servers:
                server.restart(group=group)
    whom = "process group" if group else "main process"
    return _say(f"SIGTERM to the {whom}, {rounds} restarts of {len(servers)} servers", load, started)


def _upgraded(servers: Sequence[Server], caller: Caller, release: dict[str, str]) -> int:
    started = time.monotonic()
    with Load(caller) as load:
        migrate(servers[0].environ | release)
        for server in servers:
            server.restart(group=False)  # the old release, on the newer schema
            server.environ |= release
            server.restart(group=False)
    return _say(f"migration, one restart and one upgrade of {len(servers)} servers", load, started)


def _say(what: str, load: Load, started: float) -> int:
    failed = load.failures.total()
    sys.stdout.write(f"{what}: {load.calls} calls, {failed} failed, in {time.monotonic() - started:.0f} s\n")
    for failure, count in load.failures.most_common(5):
        sys.stdout.write(f"  {count} x {failure}\n")
    sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

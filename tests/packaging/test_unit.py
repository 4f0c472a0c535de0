"""The unit and the command beside it, under a real systemd that is the first process of a container."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from harness.first_call import GRAPH_URL, SIMULATOR, first_call
from harness.waiting import eventually
from tools.containers import Container, Containers
from whaul.environment import environment_name, is_secret
from whaul.settings import Settings

FOLDER = Path(__file__).parents[2] / "packaging" / "systemd"
COMMAND = "/usr/local/bin/whaul"
MAX_EXPOSURE = 1.5
"""As `systemd-analyze security` counts, from 0 to 10."""
CONTAINERFILE = """
ARG WHAUL
FROM ${WHAUL}
USER root
RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dbus systemd systemd-sysv \\
 && rm -rf /var/lib/apt/lists/* && rmdir /var/lib/whaul
ENV WHAUL_HOST= XDG_DATA_HOME= HOME=/root
HEALTHCHECK NONE
ENTRYPOINT []
"""
# What systemd needs to give credentials and user namespaces to a service within a container.
START = ["sh", "-c", "mount --make-rshared / && exec /sbin/init"]
RIGHTS = ("--systemd=always", "--network=none", "--cap-add=SYS_ADMIN,SYS_PTRACE")
SETTINGS = f"""
# The settings of whaul
WHAUL_GRAPH_URL={GRAPH_URL}
WHAUL_SHUTDOWN_NOTICE=1
WHAUL_AUDIT_LOG=/var/log/whaul/audit.log
AWS_EC2_METADATA_DISABLED=true
AWS_ACCESS_KEY_ID=AKIDEXAMPLE
AWS_SECRET_ACCESS_KEY=example
"""
KEY = Fernet.generate_key().decode()


class Host:
    """A machine with systemd."""

    def __init__(self, container: Container) -> None:
        self.run = container.execute

    def write(self, path: str, text: str, mode: str = "600") -> None:
        self.run("sh", "-c", f'mkdir -p "$(dirname {path})" && cat > {path} && chmod {mode} {path}', text=text)

    def shows(self, *names: str) -> list[str]:
        """Properties of the service, in the order of the names."""
        shown = self.run("systemctl", "show", "whaul", *(f"--property={name}" for name in names))
        values = dict(line.split("=", 1) for line in shown.splitlines())
        return [values[name] for name in names]

    def journal(self) -> str:
        return self.run("journalctl", "--unit=whaul", "--output=cat", "--no-pager")


@pytest.fixture(scope="module")
def host(machine: Containers, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One on which whaul was installed as the documentation says, and its service started."""
    context = tmp_path_factory.mktemp("machine")
    (context / "Containerfile").write_text(CONTAINERFILE)
    machine.build("localhost/whaul-systemd", context / "Containerfile", context, f"--build-arg=WHAUL={image}")
    with machine.running("localhost/whaul-systemd", *START, options=RIGHTS) as container:
        host = Host(container)
        eventually(lambda: machine_runs(host))
        host.write("/etc/systemd/system/whaul.service", (FOLDER / "whaul.service").read_text(), "644")
        host.write(COMMAND, (FOLDER / "whaul").read_text(), "755")
        host.write("/etc/whaul/environment", SETTINGS)
        host.write("/etc/credstore/WHAUL_SECRET_KEY", KEY)
        host.run("systemctl", "daemon-reload")
        host.run("systemd-run", "--unit=simulator", "/opt/whaul/bin/whaul", *SIMULATOR)
        host.run("systemctl", "enable", "--now", "whaul")
        yield host


def machine_runs(host: Host) -> bool:
    return host.run("sh", "-c", "systemctl is-system-running || true").strip() in {"running", "degraded"}


def test_the_console_is_a_service_beside_it(host: Host) -> None:
    """Of the same user, with the same settings and rights."""
    host.write("/etc/systemd/system/whaul-console.service", (FOLDER / "whaul.service").read_text(), "644")
    conf = "/etc/systemd/system/whaul-console.service.d/whaul-console.conf"
    host.write(conf, (FOLDER / "whaul-console.conf").read_text(), "644")
    host.run("systemctl", "daemon-reload")
    assert host.run("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/whaul-console.service") == ""
    host.run("systemctl", "enable", "--now", "whaul-console")
    host.run("/opt/whaul/bin/python", "-m", "whaul.server.liveness", "8082", "/healthz")
    made = json.loads(host.run(COMMAND, "keys", "create", "--name", "operator", "--allow-all", "--json"))
    assert "/sign-in#" in host.run(COMMAND, "console", "link", "--key", made["accessKeyId"])
    host.run("systemctl", "stop", "whaul-console")
    assert host.shows("ActiveState") == ["active"], "the server goes on"


def test_every_secret_can_be_a_credential() -> None:
    secrets = [environment_name(name) for name, field in Settings.model_fields.items() if is_secret(field)]
    lines = (FOLDER / "whaul.service").read_text().splitlines()
    assert sorted(line.partition("=")[2] for line in lines if line.startswith("LoadCredential=")) == sorted(secrets)


def test_systemd_finds_no_fault_in_the_unit(host: Host) -> None:
    assert host.run("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/whaul.service") == ""


def test_the_service_may_do_little(host: Host) -> None:
    threshold = str(round(10 * MAX_EXPOSURE))
    host.run("systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", "whaul.service")


def test_the_service_is_started_once_it_answers(host: Host) -> None:
    """`systemctl enable --now` came back, after the migration and the word of the server itself."""
    assert host.shows("ActiveState", "SubState", "Type", "NRestarts") == ["active", "running", "notify", "0"]
    host.run("/opt/whaul/bin/python", "-m", "whaul.server.liveness")


def test_a_command_finds_what_the_service_finds_and_a_call_is_served(host: Host) -> None:
    assert first_call(host.run, COMMAND).startswith("wamid.")
    shown = host.run(COMMAND, "settings", "--changed")
    assert "credential WHAUL_SECRET_KEY" in shown
    assert KEY not in shown + host.journal()
    assert '"SendWhatsAppMessage"' in host.run("cat", "/var/log/whaul/audit.log")


def test_the_database_is_the_services_alone(host: Host) -> None:
    owner, mode = host.run("stat", "--format=%u %a", "/var/lib/whaul/whaul.db").split()
    assert 61184 <= int(owner) <= 65519, "a user that systemd made up"
    assert mode == "600"
    assert host.run("ls", "/var/lib/whaul").split().count("whaul.db.key") == 0, "the key is a credential"


def test_a_reload_replaces_the_workers(host: Host) -> None:
    [before] = host.shows("MainPID")
    host.run("systemctl", "reload", "whaul")
    eventually(lambda: "all workers are replaced" in host.journal())
    assert host.shows("ActiveState", "MainPID") == ["active", before]


def test_a_server_that_dies_is_started_again(host: Host) -> None:
    host.run("systemctl", "kill", "--signal=KILL", "whaul")
    eventually(lambda: host.shows("ActiveState", "NRestarts") == ["active", "1"])
    host.run("/opt/whaul/bin/python", "-m", "whaul.server.liveness")


def test_a_stop_is_a_success(host: Host) -> None:
    host.run("systemctl", "stop", "whaul")
    assert host.shows("ActiveState", "Result", "ExecMainCode", "ExecMainStatus") == ["inactive", "success", "1", "0"]
    assert '"event":"stopped"' in host.journal()

"""The Helm chart: what it makes of values, held against the schemas of several versions of Kubernetes, and run.

There is no Kubernetes here: podman runs the pods, and nobody obeys a NetworkPolicy, say.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

import whaul
from harness.first_call import GRAPH_URL, SIMULATOR, first_call
from harness.installs import helm, kubernetes_schemas
from harness.waiting import eventually
from tools.containers import Container, Containers
from tools.postgresql import PostgresqlServer
from whaul.environment import environment_name, is_secret
from whaul.settings import Settings

CHART = Path(__file__).parents[2] / "packaging" / "chart" / "whaul"
ALERTS = (CHART.parents[1] / "monitoring" / "alerts.yaml").read_text(encoding="utf-8").splitlines()
KUBERNETES = ["1.27", "1.32", "1.37"]
FOREIGN = ["HTTPRoute", "PrometheusRule", "ServiceMonitor"]
"""Kinds that Kubernetes itself does not have."""
READ = """
import json, sys, yaml, kubernetes_validate
manifests = [each for each in yaml.safe_load_all(sys.stdin) if each]
problems, foreign = [], []
for each in manifests:
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            foreign.append(each["kind"])
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{version} {each['kind']}: {error.message}")
json.dump([manifests, problems, foreign], sys.stdout)
"""
EVERYTHING = {
    "image": {"repository": "registry.example/whaul", "digest": f"sha256:{64 * '0'}"},
    "imagePullSecrets": [{"name": "registry"}],
    "existingSecret": "{{ .Release.Name }}-s3",
    "secretFiles": {
        "WHAUL_DATABASE_URL": {"secret": "whaul-db-app", "key": "uri"},
        "WHAUL_SECRET_KEY": {"secret": "whaul", "key": "secret-key"},
    },
    "config": {"WHAUL_ACCOUNT_ID": "000022223333", "WHAUL_TLS_CERT_FILE": "/tls/tls.crt", "WHAUL_DEADLINE": "30"},
    "terminationGracePeriodSeconds": 45,
    "extraEnv": [{"name": "WHAUL_NEW_SETTING", "value": "1"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    "extraVolumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    "extraVolumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    "migration": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/whaul"}},
    "webhooks": {
        "service": {"port": 80},
        "ingress": {"enabled": True, "host": "hooks.example.com", "className": "nginx", "tlsSecret": "hooks"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["hooks.example.com"]},
    },
    "autoscaling": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "webhooksFrom": [{"namespaceSelector": {}}],
        "egress": [{"ports": [{"port": 443}, {"port": 5432}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "affinity": {"nodeAffinity": {}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "whatsapp", "operator": "Exists"}],
    "priorityClassName": "high",
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "support"},
}
VALUES: dict[str, dict[str, Any]] = {
    "postgresql": {"existingSecret": "whaul"},
    "sqlite": {"database": "sqlite", "replicaCount": 1},
    "calls only": {"existingSecret": "whaul", "webhooks": {"enabled": False}, "serviceAccount": {"create": False}},
    "everything": EVERYTHING,
    "console": {
        "existingSecret": "whaul",
        "config": {"WHAUL_TRUSTED_PROXIES": "192.0.2.1", "AWS_REGION": "eu-west-1"},
        "console": {
            "enabled": True,
            "trustedProxies": ["10.0.0.0/8", "127.0.0.1"],
            "hosts": ["console"],
            "service": {"annotations": {"a": "b"}},
            "ingress": {"enabled": True, "host": "console.example.com", "className": "nginx", "tlsSecret": "console"},
        },
        "networkPolicy": {
            "enabled": True,
            "consoleFrom": [{"namespaceSelector": {}}],
            "egress": [{"ports": [{"port": 443}, {"port": 5432}]}],
        },
    },
}
ALWAYS = ["Deployment", "Pod", "Service"]
KINDS = {
    "postgresql": [*ALWAYS, "Job", "PodDisruptionBudget", "Service", "ServiceAccount"],
    "sqlite": [*ALWAYS, "PersistentVolumeClaim", "Service", "ServiceAccount"],
    "calls only": [*ALWAYS, "Job", "PodDisruptionBudget"],
    "everything": [
        *(*ALWAYS, "Job", "PodDisruptionBudget", "Service", "ServiceAccount"),
        *("HorizontalPodAutoscaler", "NetworkPolicy", "Ingress", *FOREIGN),
    ],
    "console": [
        *(*ALWAYS, "Job", "PodDisruptionBudget", "Service", "ServiceAccount"),
        *("Deployment", "Service", "Service", "Ingress", "NetworkPolicy", "NetworkPolicy"),
    ],
}

Manifest = dict[str, Any]


class Chart:
    """The chart, with Helm, whose own files are in `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._environ = {f"HELM_{kind}_HOME": str(home) for kind in ("CACHE", "CONFIG", "DATA")}
        self._python = kubernetes_schemas()
        self._helm = helm()

    def run(self, command: str, values: dict[str, Any], *more: str) -> "subprocess.CompletedProcess[str]":
        file = self._home / "values.json"
        file.write_text(json.dumps(values))
        called = [self._helm, *command.split(), CHART, "--values", file, *more]
        return subprocess.run(called, env=self._environ, capture_output=True, text=True, check=False, timeout=120)

    def read(self, values: dict[str, Any], *versions: str) -> tuple[list[Manifest], list[str], list[str]]:
        """The manifests, what is wrong with them in these versions, and the kinds that they do not know."""
        made = self.run("template shop", values)
        assert made.returncode == 0, made.stderr
        reading = [self._python, "-c", READ, *versions]
        read = subprocess.run(reading, input=made.stdout, capture_output=True, text=True, check=True, timeout=120)
        manifests, problems, foreign = json.loads(read.stdout)
        return manifests, problems, foreign


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def made(chart: Chart) -> Callable[[str], list[Manifest]]:
    """The manifests that a set of values gives, by its name."""
    known: dict[str, list[Manifest]] = {}

    def make(name: str) -> list[Manifest]:
        if name not in known:
            known[name], problems, foreign = chart.read(VALUES[name], *KUBERNETES)
            assert problems == []
            assert set(foreign) <= set(FOREIGN)
        return known[name]

    return make


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The specifications of all pods."""
    specs = [each["spec"] for each in manifests if each["kind"] in {"Pod", "Deployment", "Job"}]
    return [spec["template"]["spec"] if "template" in spec else spec for spec in specs]


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    [found] = [each for each in manifests if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return found


def variables(container: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_accepts_what_it_makes(name: str, chart: Chart, made: Callable[[str], list[Manifest]]) -> None:
    lint = chart.run("lint --strict", VALUES[name])
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert sorted(each["kind"] for each in made(name)) == sorted(KINDS[name])


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_keeps_to_the_restricted_standard(name: str, made: Callable[[str], list[Manifest]]) -> None:
    for pod in pods(made(name)):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert {"requests", "limits"} <= container["resources"].keys()


def test_the_migration_sees_what_the_server_sees(made: Callable[[str], list[Manifest]]) -> None:
    job = one(made("everything"), "Job")["spec"]["template"]["spec"]
    server = one(made("everything"), "Deployment")["spec"]["template"]["spec"]
    assert job["volumes"] == server["volumes"]
    for what in ("image", "env", "envFrom", "volumeMounts"):
        assert job["containers"][0][what] == server["containers"][0][what]
    assert "serviceAccountName" not in job, "the release's own does not exist before it is installed"


def test_sqlite_has_one_pod_with_a_volume_that_migrates_by_itself(made: Callable[[str], list[Manifest]]) -> None:
    deployment = one(made("sqlite"), "Deployment")["spec"]
    pod = deployment["template"]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert [each["args"] for each in pod["initContainers"]] == [["migrate"]]
    claim = one(made("sqlite"), "PersistentVolumeClaim")["metadata"]
    assert claim["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert {"name": "data", "persistentVolumeClaim": {"claimName": claim["name"]}} in pod["volumes"]


def test_secrets_come_from_secrets_that_are_there_already(made: Callable[[str], list[Manifest]]) -> None:
    pod = one(made("everything"), "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "shop-s3"}}, {"configMapRef": {"name": "more"}}]
    assert variables(container)["WHAUL_DATABASE_URL_FILE"] == "/run/secrets/whaul/WHAUL_DATABASE_URL"
    mounted = next(each["projected"]["sources"] for each in pod["volumes"] if each["name"] == "secrets")
    assert [each["secret"] for each in mounted] == [
        {"name": "whaul-db-app", "items": [{"key": "uri", "path": "WHAUL_DATABASE_URL"}]},
        {"name": "whaul", "items": [{"key": "secret-key", "path": "WHAUL_SECRET_KEY"}]},
    ]
    assert not any(each["kind"] == "Secret" for each in made("everything"))


def test_settings_come_through_as_they_were_written(made: Callable[[str], list[Manifest]]) -> None:
    given = variables(one(made("everything"), "Deployment")["spec"]["template"]["spec"]["containers"][0])
    assert given["WHAUL_ACCOUNT_ID"] == "000022223333"
    assert given["WHAUL_NEW_SETTING"] == "1"
    ours = variables(one(made("sqlite"), "Deployment")["spec"]["template"]["spec"]["containers"][0])
    assert ours.keys() <= {environment_name(name) for name in Settings.model_fields}


def test_only_webhooks_are_offered_to_the_internet(made: Callable[[str], list[Manifest]]) -> None:
    [rule] = one(made("everything"), "Ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["path"] == "/webhooks/meta"
    assert path["backend"]["service"] == {"name": "shop-whaul-webhooks", "port": {"name": "webhooks"}}
    [route] = one(made("everything"), "HTTPRoute")["spec"]["rules"]
    assert route["backendRefs"] == [{"name": "shop-whaul-webhooks", "port": 80}]
    [port] = one(made("everything"), "Service", "shop-whaul-webhooks")["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("webhooks", 80, "webhooks")


def test_what_finds_the_servers_finds_only_them(made: Callable[[str], list[Manifest]]) -> None:
    """Services, the budget, the policy, the spread: not the migration, and not the test's pod."""
    manifests = made("everything")
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    server = one(manifests, "Deployment")["spec"]["selector"]["matchLabels"]
    assert server.items() <= labels.items()
    assert one(manifests, "Service", "shop-whaul")["spec"]["selector"] == server
    assert one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == server
    assert one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == server
    spread = one(manifests, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [each["labelSelector"]["matchLabels"] for each in spread] == [server, server]
    others = [one(manifests, "Job")["spec"]["template"], one(manifests, "Pod")]
    assert not any(server.items() <= each["metadata"]["labels"].items() for each in others)
    metrics = one(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert metrics.items() <= one(manifests, "Service", "shop-whaul")["metadata"]["labels"].items()
    assert not metrics.items() <= one(manifests, "Service", "shop-whaul-webhooks")["metadata"]["labels"].items()


def test_the_console_is_one_pod_that_knows_every_server(made: Callable[[str], list[Manifest]]) -> None:
    manifests = made("console")
    deployment = one(manifests, "Deployment", "shop-whaul-console")["spec"]
    assert deployment["replicas"] == 1
    [container] = deployment["template"]["spec"]["containers"]
    assert container["args"] == ["console"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    given = variables(container)
    assert given["WHAUL_TRUSTED_PROXIES"] == "10.0.0.0/8,127.0.0.1"
    assert given["WHAUL_CONSOLE_HOSTS"] == "console,console.example.com"
    assert given["WHAUL_CONSOLE_SERVERS"] == "http://shop-whaul-servers.default.svc:8080"
    assert given["AWS_REGION"] == "eu-west-1"
    assert container["envFrom"] == [{"secretRef": {"name": "whaul"}}]
    server = one(manifests, "Deployment", "shop-whaul")["spec"]["selector"]["matchLabels"]
    of_servers = one(manifests, "Service", "shop-whaul-servers")["spec"]
    assert (of_servers["clusterIP"], of_servers["selector"]) == ("None", server)
    labels = deployment["template"]["metadata"]["labels"]
    assert not server.items() <= labels.items()
    assert one(manifests, "Service", "shop-whaul-console")["spec"]["selector"].items() <= labels.items()


def test_the_console_is_reached_by_its_ingress_and_reaches_the_servers(made: Callable[[str], list[Manifest]]) -> None:
    manifests = made("console")
    console = one(manifests, "Deployment", "shop-whaul-console")["spec"]["selector"]["matchLabels"]
    server = one(manifests, "Deployment", "shop-whaul")["spec"]["selector"]["matchLabels"]
    [rule] = one(manifests, "Ingress")["spec"]["rules"]
    assert rule["host"] == "console.example.com"
    [path] = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "shop-whaul-console", "port": {"name": "console"}}
    policy = one(manifests, "NetworkPolicy", "shop-whaul-console")["spec"]
    assert policy["podSelector"]["matchLabels"] == console
    assert policy["ingress"] == [{"ports": [{"port": "console"}], "from": [{"namespaceSelector": {}}]}]
    assert policy["egress"][-1] == {"ports": [{"port": 8080}], "to": [{"podSelector": {"matchLabels": server}}]}
    api = one(manifests, "NetworkPolicy", "shop-whaul")["spec"]["ingress"][0]
    assert {"podSelector": {"matchLabels": console}} in api["from"]


def test_the_alerts_are_those_of_the_monitoring_and_know_the_job(made: Callable[[str], list[Manifest]]) -> None:
    rule = one(made("everything"), "PrometheusRule")["spec"]
    alerts = [each["alert"] for group in rule["groups"] for each in group["rules"]]
    assert [f"- alert: {name}" for name in alerts] == [line.strip() for line in ALERTS if "- alert:" in line]
    [endpoint] = one(made("everything"), "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "whaul/default/shop"}]


def test_tls_of_the_server_itself_is_known_to_all_who_ask_it(made: Callable[[str], list[Manifest]]) -> None:
    container = one(made("everything"), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    probes = [container[f"{kind}Probe"]["httpGet"]["scheme"] for kind in ("startup", "liveness", "readiness")]
    assert probes == ["HTTPS"] * 3
    assert one(made("everything"), "ServiceMonitor")["spec"]["endpoints"][0]["scheme"] == "https"
    assert "https://shop-whaul:8080/readyz" in one(made("everything"), "Pod")["spec"]["containers"][0]["command"]


def test_a_key_without_a_value_is_no_mistake_where_nothing_is_a_value(chart: Chart) -> None:
    """As in YAML whose lines beneath it are comments."""
    bare = {"config": None, "secretFiles": None, "nameOverride": None, "podLabels": None, "tolerations": None}
    assert chart.run("template shop", VALUES["postgresql"] | bare).returncode == 0


def test_a_pod_has_the_time_that_a_stop_takes(made: Callable[[str], list[Manifest]]) -> None:
    assert one(made("postgresql"), "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 70


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "PostgreSQL needs WHAUL_DATABASE_URL: name a Secret"),
        ({"secretFiles": {"WHAUL_DATABASE_URL": {"secret": "a", "key": "b"}}}, "PostgreSQL needs WHAUL_SECRET_KEY"),
        ({"database": "sqlite", "replicaCount": 2}, "SQLite is for one pod: set replicaCount to 1"),
        ({"database": "sqlite", "replicaCount": 1, "autoscaling": {"enabled": True}}, "leave autoscaling off"),
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"webhooks": {"ingress": {"hosts": []}}}, "at '/webhooks/ingress': additional properties 'hosts' not allowed"),
        ({"database": "mysql"}, "at '/database': value must be one of 'postgresql', 'sqlite'"),
        ({"config": {"WHAUL_MAX_FILE_SIZE": 104857600}}, "at '/config/WHAUL_MAX_FILE_SIZE': got number, want string"),
        ({"config": {"WHAUL_PORT": "80"}}, "config.WHAUL_PORT: the ports in the pod are fixed"),
        ({"config": {"WHAUL_DEADLINE": "300"}}, "terminationGracePeriodSeconds must be at least 315"),
        ({"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds must be at least 70"),
        ({"webhooks": {"enabled": False, "ingress": {"enabled": True}}}, "need webhooks.enabled"),
        ({"webhooks": {"ingress": {"enabled": True}}}, "webhooks.ingress.host: give the name"),
        ({"database": "sqlite", "replicaCount": 1, "console": {"enabled": True}}, "console needs PostgreSQL"),
        ({"console": {"ingress": {"enabled": True}}}, "console.ingress needs console.enabled"),
        ({"console": {"enabled": True, "ingress": {"enabled": True}}}, "console.ingress.host: give the name"),
        ({"console": {"enabled": True, "ingress": {"enabled": True, "host": "a"}}}, "console.trustedProxies: add"),
        ({"config": {"WHAUL_CONSOLE_LISTEN": "0.0.0.0:80"}}, "config.WHAUL_CONSOLE_LISTEN: the ports in the pod"),
        ({"webhooks": {"httpRoute": {"enabled": True}}}, "webhooks.httpRoute.parentRefs: name the Gateway"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], message: str, chart: Chart) -> None:
    secret = {} if message.startswith("PostgreSQL") else VALUES["postgresql"]
    done = chart.run("template shop", secret | values)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize(
    "name", [environment_name(name) for name, field in Settings.model_fields.items() if is_secret(field)]
)
def test_no_secret_is_taken_as_a_plain_value(name: str, chart: Chart) -> None:
    done = chart.run("template shop", VALUES["postgresql"] | {"config": {name: "s3cr3t"}})
    assert f"config.{name}: a secret does not belong into the values" in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr


def test_it_is_of_the_same_version() -> None:
    lines = (CHART / "Chart.yaml").read_text().splitlines()
    assert f"version: {whaul.__version__}" in lines
    assert f'appVersion: "{whaul.__version__}"' in lines


# --- run


@pytest.fixture
def manifests(chart: Chart, image: str, postgresql: PostgresqlServer) -> list[Manifest]:
    """What the chart makes for a PostgreSQL that is reached by its socket, since nothing outside is."""
    postgresql.folder.chmod(0o711)  # for the pods' user
    url = f"postgresql://whaul:{postgresql.password}@/{postgresql.create_database()}?host=/run/postgresql"
    name, _, tag = image.rpartition(":")
    values = {
        "image": {"repository": name, "tag": tag},
        "config": {"WHAUL_GRAPH_URL": GRAPH_URL, "WHAUL_SHUTDOWN_NOTICE": "1", "AWS_EC2_METADATA_DISABLED": "true"},
        "extraEnv": [
            {"name": "WHAUL_DATABASE_URL", "value": f"{url}&port={postgresql.port}"},
            {"name": "WHAUL_SECRET_KEY", "value": Fernet.generate_key().decode()},
            {"name": "AWS_ACCESS_KEY_ID", "value": "AKIDEXAMPLE"},
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "example"},
        ],
        "extraVolumes": [{"name": "database", "hostPath": {"path": str(postgresql.folder)}}],
        "extraVolumeMounts": [{"name": "database", "mountPath": "/run/postgresql"}],
    }
    made, _, _ = chart.read(values | {"replicaCount": 1, "console": {"enabled": True}})
    return made


@contextmanager
def played(machine: Containers, manifest: Manifest) -> Iterator[list[Container]]:
    """Have podman run the pod of a manifest, without a network; its containers are the answer."""
    for pod in pods([manifest]):
        for container in pod["containers"]:
            container.pop("ports", None)  # podman would publish them to everybody
            for probe in [name for name in container if name.endswith("Probe")]:
                del container[probe]  # named ports are unknown then
    text = json.dumps(manifest)
    made = machine.podman("play", "kube", "--network=none", "-", stdin=None, input=text)
    try:
        yield [Container(line, machine) for line in made.partition("Container")[2].splitlines()[1:] if line]
    finally:
        machine.podman("play", "kube", "--down", "-", stdin=None, input=text)


def test_its_pods_migrate_serve_and_stop(machine: Containers, manifests: list[Manifest]) -> None:
    job = one(manifests, "Job")  # which this podman does not know: its pod alone
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": job["metadata"], "spec": job["spec"]["template"]["spec"]}
    with played(machine, pod) as [migration]:
        assert machine.podman("wait", migration.name).strip() == "0", migration.logs()
    with played(machine, one(manifests, "Deployment", "shop-whaul")) as [server]:
        machine.podman("exec", "--detach", server.name, "whaul", *SIMULATOR)
        eventually(lambda: server.logs().count('"event":"ready"') == 2)  # the listener of calls, and that of webhooks
        asking = one(manifests, "Pod")["spec"]["containers"][0]["command"][:3]  # as `helm test` does
        paths = ("8080/readyz", "8080/healthz", "8081/healthz")
        told = server.execute(*asking, *(f"http://127.0.0.1:{path}" for path in paths))
        assert told.count(" 200 ") == len(paths)
        assert first_call(server.execute).startswith("wamid.")
        assert server.execute("id", "-u").strip() == "10001"
        assert server.stop() == 0
        assert '"event":"stopped"' in server.logs()
    with played(machine, one(manifests, "Deployment", "shop-whaul-console")) as [console]:
        eventually(lambda: '"event":"ready"' in console.logs())
        console.execute("python", "-m", "whaul.server.liveness", "8082", "/healthz")
        made = json.loads(console.execute("whaul", "keys", "create", "--name", "operator", "--allow-all", "--json"))
        assert "/sign-in#" in console.execute("whaul", "console", "link", "--key", made["accessKeyId"])
        assert console.stop() == 0

"""Every setting: its default, what it refuses, and that no secret is ever repeated."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from whaul import __version__
from whaul.environment import environment_name, is_secret
from whaul.folders import data_folder
from whaul.secrets import Cipher
from whaul.settings import GROUPS, Settings, SettingsError

KEY = "d2hhdWwncyB0ZXN0cywgMzIgYnl0ZXMgb2YgYSBrZXk="
SECRET = "s3cr3t-value-of-a-setting"

DEFAULTS = {
    "WHAUL_HOST": "127.0.0.1",
    "WHAUL_PORT": 8080,
    "WHAUL_WORKERS": 1,
    "WHAUL_SECRET_KEY": None,
    "WHAUL_ROOT_ACCESS_KEY_ID": None,
    "WHAUL_ROOT_SECRET_ACCESS_KEY": None,
    "WHAUL_ACCOUNT_ID": "000000000000",
    "AWS_REGION": "us-east-1",
    "WHAUL_S3_ADDRESSING_STYLE": "auto",
    "WHAUL_S3_SSE": None,
    "WHAUL_S3_SSE_KMS_KEY_ID": None,
    "WHAUL_S3_STORAGE_CLASS": None,
    "WHAUL_S3_TAGS": {},
    "WHAUL_S3_EXPECTED_BUCKET_OWNER": None,
    "WHAUL_PRESIGNED_HOSTS": (),
    "WHAUL_GRAPH_URL": "https://graph.facebook.com",
    "WHAUL_GRAPH_VERSION": "v25.0",
    "WHAUL_GRAPH_USER_AGENT": f"whaul/{__version__}",
    "WHAUL_MEDIA_HOSTS": ("lookaside.fbsbx.com", "*.fbcdn.net", "*.whatsapp.net"),
    "WHAUL_KEY_MODE": "prefix",
    "WHAUL_EXTENSIONS": {},
    "WHAUL_MAX_FILE_SIZE": 104857600,
    "WHAUL_DEADLINE": 55,
    "WHAUL_MAX_TRANSFERS": 64,
    "WHAUL_MAX_QUEUE": 256,
    "WHAUL_RATE_LIMIT": 0,
    "WHAUL_RATE_BURST": None,
    "WHAUL_IDLE_TIMEOUT": 75,
    "WHAUL_SHUTDOWN_NOTICE": 15,
    "WHAUL_TLS_CERT_FILE": None,
    "WHAUL_TLS_KEY_FILE": None,
    "WHAUL_TRUSTED_PROXIES": (),
    "WHAUL_AUTH": "sigv4",
    "WHAUL_LOG_LEVEL": "info",
    "WHAUL_LOG_FORMAT": "auto",
    "WHAUL_AUDIT_LOG": None,
    "WHAUL_AUDIT_LOG_MAX_SIZE": 104857600,
    "WHAUL_AUDIT_LOG_FILES": 5,
    "WHAUL_WEBHOOK_PORT": None,
    "WHAUL_WEBHOOK_HOST": None,
    "WHAUL_APP_SECRETS": {},
    "WHAUL_WEBHOOK_VERIFY_TOKENS": (),
    "WHAUL_WEBHOOK_RETENTION": timedelta(days=7),
    "WHAUL_EVENT_RETENTION": timedelta(days=30),
    "WHAUL_DELIVERY_PERIOD": timedelta(hours=72),
    "WHAUL_EVENT_HOSTS": (),
    "WHAUL_EVENTS_AWS_PROFILE": None,
    "WHAUL_MAX_BACKLOG": 1_000_000,
    "WHAUL_MAX_BACKLOG_BYTES": 64 * 1024**3,
    "WHAUL_ARCHIVE_CONCURRENCY": None,
    "WHAUL_CONSOLE_LISTEN": "127.0.0.1:8082",
    "WHAUL_CONSOLE_HOSTS": (),
    "WHAUL_CONSOLE_SERVERS": (),
    "WHAUL_OIDC_ISSUER": None,
    "WHAUL_OIDC_CLIENT_ID": None,
    "WHAUL_OIDC_CLIENT_SECRET": None,
    "WHAUL_OIDC_SCOPES": ("openid", "email"),
    "WHAUL_OIDC_GROUPS_CLAIM": "groups",
    "WHAUL_OIDC_ACCESS_KEYS": {},
    "WHAUL_OIDC_NAME": "single sign-on",
    "WHAUL_OIDC_SESSION": timedelta(hours=8),
}
"""The table of the interface, besides WHAUL_DATABASE_URL, whose default depends on the user."""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> "Loader":
    return Loader(monkeypatch)


class Loader:
    """Loads the settings from an environment that holds what is given and nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, **environ: str) -> Settings:
        for name, value in environ.items():
            self._monkeypatch.setenv(name, value)
        return Settings.load()

    def problems(self, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            self(**environ)
        assert SECRET not in str(caught.value)
        assert KEY not in str(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        return caught.value.problems


def test_the_defaults_are_those_of_the_interface(load: Loader, data_home: Path) -> None:
    settings = load()
    found = {environment_name(name): getattr(settings, name) for name in Settings.model_fields}
    database = found.pop("WHAUL_DATABASE_URL")
    assert found == DEFAULTS
    assert database.get_secret_value() == f"sqlite:///{data_home / 'whaul' / 'whaul.db'}"


def test_settings_are_those_of_the_groups_in_their_order() -> None:
    # A check sees the settings before its own, those of other groups too.
    assert list(Settings.model_fields) == [name for group in GROUPS.values() for name in group.model_fields]


def test_the_data_directory_is_the_users() -> None:
    assert data_folder({"XDG_DATA_HOME": "/x"}) == Path("/x/whaul")
    assert data_folder({"XDG_DATA_HOME": ""}) == Path.home() / ".local" / "share" / "whaul"


def test_every_setting_says_what_it_means() -> None:
    assert all((field.description or "").endswith(".") for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("name", "example"),
    [(name, example) for name, field in Settings.model_fields.items() for example in field.examples or []],
)
def test_every_example_of_a_setting_can_be_used_and_is_not_the_default(load: Loader, name: str, example: str) -> None:
    what_it_needs = {"WHAUL_S3_SSE": "aws:kms", "WHAUL_SECRET_KEY": KEY, "WHAUL_WEBHOOK_PORT": "8081"}
    if name in {"oidc_issuer", "oidc_client_id", "oidc_access_keys"}:
        what_it_needs |= {"WHAUL_OIDC_ISSUER": "https://a.example", "WHAUL_OIDC_CLIENT_ID": "a"}
        what_it_needs |= {"WHAUL_OIDC_ACCESS_KEYS": "a=b"}
    settings = load(**what_it_needs | {environment_name(name): example})
    assert getattr(settings, name) != Settings.model_fields[name].get_default(call_default_factory=True)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("WHAUL_PORT", "0", 0),
        ("WHAUL_HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104
        ("WHAUL_ACCOUNT_ID", "123456789012\n", "123456789012"),
        ("AWS_REGION", "us-gov-west-1", "us-gov-west-1"),
        *(("AWS_REGION", name, name) for name in ("auto", "garage", "default", "us", "RegionOne", "a" * 63)),
        ("AWS_DEFAULT_REGION", "eu-west-1", "eu-west-1"),
        ("WHAUL_S3_SSE", "aws:kms", "aws:kms"),
        ("WHAUL_S3_TAGS", "team=a, cost = b=c ,", {"team": "a", "cost": "b=c"}),
        ("WHAUL_PRESIGNED_HOSTS", " *.r2.example , store.example:9000,", ("*.r2.example", "store.example:9000")),
        ("WHAUL_CONSOLE_SERVERS", "http://a:1/, https://[::1]:2", ("http://a:1", "https://[::1]:2")),
        ("WHAUL_GRAPH_URL", "http://127.0.0.1:4000/", "http://127.0.0.1:4000"),
        ("WHAUL_GRAPH_URL", "https://GRAPH.example:443", "https://graph.example"),
        ("WHAUL_GRAPH_URL", "http://[0:0::1]:80", "http://[::1]"),
        ("WHAUL_GRAPH_URL", "http://LOCALHOST.:4000", "http://localhost.:4000"),
        ("WHAUL_TRUSTED_PROXIES", "[::1],[2001:db8::]/32", ("::1", "2001:db8::/32")),
        ("WHAUL_GRAPH_URL", "https://proxy.example/graph", "https://proxy.example/graph"),
        ("WHAUL_GRAPH_USER_AGENT", "curl/8.0 (x)", "curl/8.0 (x)"),
        ("WHAUL_EXTENSIONS", "IMAGE/JPEG=.jpg,audio/ogg=", {"image/jpeg": ".jpg", "audio/ogg": ""}),
        ("WHAUL_DEADLINE", "2.5", 2.5),
        ("WHAUL_RATE_LIMIT", "0.5", 0.5),
        ("WHAUL_TRUSTED_PROXIES", "10.0.0.0/8,::1,10.1.2.3/16", ("10.0.0.0/8", "::1", "10.1.2.3/16")),
        ("WHAUL_AUTH", "none", "none"),
        ("WHAUL_WEBHOOK_PORT", "0", 0),
        ("WHAUL_WEBHOOK_PORT", "tcp://10.0.0.7:8081", None),  # of a container link
        ("WHAUL_WEBHOOK_RETENTION", " 36h\n", timedelta(hours=36)),
        ("WHAUL_EVENT_RETENTION", "90d", timedelta(days=90)),
        ("WHAUL_DELIVERY_PERIOD", "30s", timedelta(seconds=30)),
        ("WHAUL_DELIVERY_PERIOD", "15m", timedelta(minutes=15)),
        ("WHAUL_EVENT_HOSTS", "localhost:9000, *.internal", ("localhost:9000", "*.internal")),
        ("WHAUL_MAX_BACKLOG_BYTES", "512MiB", 512 * 1024**2),
        ("WHAUL_MAX_BACKLOG_BYTES", "2 GiB", 2 * 1024**3),
        ("WHAUL_MAX_BACKLOG_BYTES", "1048576", 1024**2),
        ("WHAUL_PORT", "", 8080),
        ("WHAUL_SECRET_KEY", "", None),
    ],
)
def test_a_setting_is_read_from_the_environment(load: Loader, name: str, text: str, value: object) -> None:
    settings = load(**{name: text})
    field = "region" if name.startswith("AWS") else name.removeprefix("WHAUL_").lower()
    assert getattr(settings, field) == value


def test_aws_region_wins_over_aws_default_region(load: Loader) -> None:
    assert load(AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="eu-west-2").region == "eu-west-1"
    assert load(AWS_REGION="", AWS_DEFAULT_REGION="eu-west-2").region == "eu-west-2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WHAUL_HOST", " "),
        ("WHAUL_AUDIT_LOG", "\n"),
        ("WHAUL_PORT", "80x"),
        ("WHAUL_PORT", "-1"),
        ("WHAUL_PORT", "65536"),
        ("WHAUL_WORKERS", "0"),
        ("WHAUL_WORKERS", "1.5"),
        ("WHAUL_ACCOUNT_ID", "12345678901"),
        ("WHAUL_ACCOUNT_ID", "12345678901x"),
        ("WHAUL_ACCOUNT_ID", "1234567890\n2"),
        ("WHAUL_ACCOUNT_ID", "١٢٣٤٥٦٧٨٩٠١٢"),
        ("AWS_REGION", "EU West"),
        ("AWS_REGION", "eu_west_1"),
        ("AWS_REGION", "-eu"),
        ("AWS_REGION", "eu-west-1."),
        ("AWS_REGION", "1234"),
        ("AWS_REGION", "a" * 64),
        ("AWS_REGION", "us-east\n-1"),
        ("AWS_REGION", "eu:west"),
        ("AWS_REGION", "eu-west-1/x"),
        ("AWS_DEFAULT_REGION", "../etc"),
        ("WHAUL_S3_ADDRESSING_STYLE", "dns"),
        ("WHAUL_S3_SSE", "aes"),
        ("WHAUL_S3_SSE_KMS_KEY_ID", "a-key"),
        ("WHAUL_S3_STORAGE_CLASS", "standard"),
        ("WHAUL_S3_STORAGE_CLASS", "STANDARD IA"),
        ("WHAUL_S3_TAGS", "team"),
        ("WHAUL_S3_TAGS", ",".join(f"tag{number}=x" for number in range(11))),
        ("WHAUL_S3_EXPECTED_BUCKET_OWNER", "me"),
        ("WHAUL_S3_EXPECTED_BUCKET_OWNER", "١٢٣٤٥٦٧٨٩٠١٢"),
        ("WHAUL_PRESIGNED_HOSTS", "https://store.example"),
        ("WHAUL_PRESIGNED_HOSTS", "*"),
        ("WHAUL_MEDIA_HOSTS", "*.fbcdn.net,*.*"),
        ("WHAUL_GRAPH_URL", "http://graph.example"),
        ("WHAUL_GRAPH_URL", "graph.facebook.com"),
        ("WHAUL_GRAPH_URL", "https://"),
        ("WHAUL_GRAPH_URL", "https://graph.example#x"),
        ("WHAUL_GRAPH_URL", "https://[graph"),
        ("WHAUL_GRAPH_URL", "https://graph.example:port"),
        ("WHAUL_GRAPH_URL", "https://graph.example:99999"),
        ("WHAUL_GRAPH_VERSION", "25"),
        ("WHAUL_GRAPH_VERSION", "v٢٢.0"),
        ("WHAUL_GRAPH_VERSION", "v25.0/../v1.0"),
        ("WHAUL_GRAPH_USER_AGENT", "whaul\r\nX: y"),
        ("WHAUL_GRAPH_USER_AGENT", " "),
        ("WHAUL_GRAPH_USER_AGENT", "wäl"),
        ("WHAUL_KEY_MODE", "suffix"),
        ("WHAUL_EXTENSIONS", "jpeg=.jpg"),
        ("WHAUL_EXTENSIONS", "image/jpeg=jpg"),
        ("WHAUL_EXTENSIONS", "image/jpeg=./../x"),
        ("WHAUL_EXTENSIONS", "image/jpeg"),
        ("WHAUL_MAX_FILE_SIZE", "0"),
        ("WHAUL_MAX_FILE_SIZE", "6000000000"),
        ("WHAUL_MAX_FILE_SIZE", "100MB"),
        ("WHAUL_DEADLINE", "0"),
        ("WHAUL_DEADLINE", "nan"),
        ("WHAUL_DEADLINE", "inf"),
        ("WHAUL_MAX_TRANSFERS", "0"),
        ("WHAUL_MAX_QUEUE", "-1"),
        ("WHAUL_RATE_LIMIT", "-1"),
        ("WHAUL_RATE_LIMIT", "nan"),
        ("WHAUL_RATE_LIMIT", "inf"),
        ("WHAUL_TLS_CERT_FILE", "/nowhere/cert.pem"),
        ("WHAUL_TRUSTED_PROXIES", "proxy.example"),
        ("WHAUL_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("WHAUL_AUTH", "basic"),
        ("WHAUL_WEBHOOK_PORT", "8080"),  # the API's
        ("WHAUL_WEBHOOK_HOST", "127.0.0.1"),  # without a port
        ("WHAUL_WEBHOOK_RETENTION", "7"),
        ("WHAUL_WEBHOOK_RETENTION", "7 days"),
        ("WHAUL_WEBHOOK_RETENTION", "P7D"),
        ("WHAUL_WEBHOOK_RETENTION", "0d"),
        ("WHAUL_EVENT_RETENTION", "-7d"),
        ("WHAUL_EVENT_RETENTION", "999999999d"),
        ("WHAUL_DELIVERY_PERIOD", "1.5h"),
        ("WHAUL_DELIVERY_PERIOD", "31d"),
        ("WHAUL_EVENT_HOSTS", "*"),
        ("WHAUL_EVENT_HOSTS", "http://localhost"),
        ("WHAUL_MAX_BACKLOG", "0"),
        ("WHAUL_MAX_BACKLOG_BYTES", "64GB"),
        ("WHAUL_MAX_BACKLOG_BYTES", "64gib"),
        ("WHAUL_MAX_BACKLOG_BYTES", "1KiB"),
        ("WHAUL_ARCHIVE_CONCURRENCY", "0"),
        ("WHAUL_LOG_LEVEL", "loud"),
        ("WHAUL_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(load: Loader, name: str, text: str) -> None:
    problems = load.problems(**{name: text})
    assert any(problem.startswith(f"{name}=") for problem in problems)


@pytest.mark.parametrize("url", ["https://user:word@graph.example", "https://graph.example/?access_token=word"])
@pytest.mark.parametrize("name", ["WHAUL_GRAPH_URL", "WHAUL_MEDIA_HOSTS", "WHAUL_PRESIGNED_HOSTS"])
def test_the_password_in_a_url_that_cannot_be_used_is_not_repeated(load: Loader, name: str, url: str) -> None:
    (problem,) = load.problems(**{name: url})
    assert problem.startswith(f"{name}: ")
    assert "word" not in problem


def test_a_name_in_lower_case_is_not_taken_for_the_setting(load: Loader) -> None:
    (problem,) = load.problems(whaul_port="9")
    assert problem.startswith("whaul_port: there is no such setting")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "gateway.example"])  # noqa: S104
def test_without_authentication_it_listens_on_loopback_only(load: Loader, host: str) -> None:
    (problem,) = load.problems(WHAUL_AUTH="none", WHAUL_HOST=host)
    assert problem.startswith("WHAUL_AUTH=none")
    assert "WHAUL_HOST" in problem


def test_all_problems_are_named_at_once(load: Loader, tmp_path: Path) -> None:
    problems = load.problems(
        WHAUL_PORT="x",
        WHAUL_WORKERS="0",
        WHAUL_SECRET_KEY=SECRET,
        WHAUL_DATABASE_URL_FILE=str(tmp_path / "none"),
        WHAUL_GRAPH_URI="https://graph.example",
    )
    named = {re.split("[:=]", problem)[0] for problem in problems}
    assert named == {
        "WHAUL_PORT",
        "WHAUL_WORKERS",
        "WHAUL_SECRET_KEY",
        "WHAUL_DATABASE_URL_FILE",
        "WHAUL_GRAPH_URI",
    }


@pytest.mark.parametrize("name", ["WHAUL_PROT", "WHAUL_", "WHAUL_REGION", "WHAUL_PORT_FILE", "WHAUL_HOST_FILE"])
def test_a_name_that_is_no_setting_is_an_error(load: Loader, name: str) -> None:
    (problem,) = load.problems(**{name: "eu-west-1"})
    assert problem.startswith(f"{name}: there is no such setting")


SECRETS = {
    "WHAUL_DATABASE_URL": f"sqlite:///{SECRET}.db",
    "WHAUL_SECRET_KEY": KEY,
    "WHAUL_ROOT_SECRET_ACCESS_KEY": SECRET,
    "WHAUL_OIDC_CLIENT_SECRET": SECRET,
}


LISTS = {"WHAUL_APP_SECRETS", "WHAUL_WEBHOOK_VERIFY_TOKENS"}
"""Settings with several secrets."""


def test_the_secrets_are_these() -> None:
    assert LISTS | set(SECRETS) == {
        environment_name(name) for name, field in Settings.model_fields.items() if is_secret(field)
    }


@pytest.mark.parametrize(("name", "value"), SECRETS.items(), ids=SECRETS)
def test_a_secret_may_come_from_a_file_and_is_never_shown(load: Loader, tmp_path: Path, name: str, value: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f" {value}\n")
    partner = {"WHAUL_ROOT_ACCESS_KEY_ID": "ROOT"} if name == "WHAUL_ROOT_SECRET_ACCESS_KEY" else {}
    settings = load(**partner, **{f"{name}_FILE": str(file)})
    secret = getattr(settings, name.removeprefix("WHAUL_").lower())
    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == value
    assert value not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(("name", "value"), SECRETS.items(), ids=SECRETS)
def test_a_secret_may_be_a_credential_of_the_service(load: Loader, tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / name).write_text(f"{value}\n")
    partner = {"WHAUL_ROOT_ACCESS_KEY_ID": "ROOT"} if name == "WHAUL_ROOT_SECRET_ACCESS_KEY" else {}
    settings = load(**partner, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert getattr(settings, name.removeprefix("WHAUL_").lower()).get_secret_value() == value
    (tmp_path / name).write_bytes(b"\xff\xfe")
    assert f"credential {name}: the file is not UTF-8 text" in load.problems()
    assert f"{name}: given both directly and as credential {name}; keep one" in load.problems(**{name: value})


@pytest.mark.parametrize("folder", ["", "/nowhere"])
def test_a_service_without_credentials_of_ours_has_its_defaults(load: Loader, folder: str, tmp_path: Path) -> None:
    assert load(CREDENTIALS_DIRECTORY=folder).secret_key is None
    (tmp_path / "WHAUL_PORT").write_text("9000")
    assert load(CREDENTIALS_DIRECTORY=str(tmp_path)).port == 8080, "only secrets are credentials"


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot read"), (b"\xff\xfe", "not UTF-8"), ("folder", "cannot read")]
)
def test_a_secret_file_that_cannot_be_read_is_named(
    load: Loader, tmp_path: Path, name: str, content: bytes | str | None, reason: str
) -> None:
    file = tmp_path / "secret"
    if content == "folder":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    problems = load.problems(**{f"{name}_FILE": str(file)})
    assert any(problem.startswith(f"{name}_FILE: ") and reason in problem for problem in problems)


@pytest.mark.parametrize(("name", "value"), SECRETS.items(), ids=SECRETS)
def test_a_secret_given_twice_is_refused(load: Loader, tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "secret").write_text(value)
    problems = load.problems(**{name: value, f"{name}_FILE": str(tmp_path / "secret")})
    assert any(problem.startswith(f"{name}: given both directly and as {name}_FILE") for problem in problems)


def test_app_secrets_are_kept_by_app_and_in_their_order(load: Loader) -> None:
    found = load(WHAUL_APP_SECRETS="10=new,20=other, 10=old ,10=new\n").app_secrets
    plain = {app: [secret.get_secret_value() for secret in secrets] for app, secrets in found.items()}
    assert plain == {"10": ["new", "old"], "20": ["other"]}


@pytest.mark.parametrize("name", sorted(LISTS))
def test_several_secrets_may_come_from_a_file_and_are_never_shown(load: Loader, tmp_path: Path, name: str) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"\ufeff10={SECRET},10=second\n", encoding="utf-8")
    settings = load(**{f"{name}_FILE": str(file)})
    assert getattr(settings, name.removeprefix("WHAUL_").lower())
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WHAUL_APP_SECRETS", SECRET),
        ("WHAUL_APP_SECRETS", f"10={SECRET},{SECRET}"),
        ("WHAUL_APP_SECRETS", f"={SECRET}"),
        ("WHAUL_APP_SECRETS", f"10=,20={SECRET}"),
        ("WHAUL_APP_SECRETS", f"a b={SECRET}"),
        ("WHAUL_APP_SECRETS", f"10={SECRET} {SECRET}"),
        ("WHAUL_APP_SECRETS", f"10='{SECRET}'"),
        ("WHAUL_WEBHOOK_VERIFY_TOKENS", f"{SECRET} x"),
        ("WHAUL_WEBHOOK_VERIFY_TOKENS", f"{SECRET},\u00e9{SECRET}"),
    ],
)
def test_a_list_of_secrets_that_cannot_be_used_is_named_and_not_repeated(load: Loader, name: str, text: str) -> None:
    (problem,) = load.problems(**{name: text})
    assert problem.startswith(f"{name}: ")


def test_a_duration_that_is_too_long_is_repeated_as_it_was_written(load: Loader) -> None:
    (problem,) = load.problems(WHAUL_DELIVERY_PERIOD="31d")
    assert problem.startswith("WHAUL_DELIVERY_PERIOD=31d: should be less than or equal to 30 days")


def test_webhooks_listen_where_the_api_does_or_on_a_port_of_their_own(load: Loader) -> None:
    assert load(WHAUL_WEBHOOK_PORT="8081", WHAUL_WEBHOOK_HOST="0.0.0.0").webhook_host == "0.0.0.0"  # noqa: S104
    assert load(WHAUL_WEBHOOK_PORT="0", WHAUL_PORT="0").webhook_port == 0


def test_archiving_leaves_most_transfers_to_the_api(load: Loader) -> None:
    assert load().archive_slots == 21
    assert load(WHAUL_MAX_TRANSFERS="2").archive_slots == 1
    assert load(WHAUL_ARCHIVE_CONCURRENCY="5").archive_slots == 5


AROUND = ["\n", "\r\n", " ", "\t", "\ufeff"]
"""What `echo`, Windows and editors leave around a secret."""


@pytest.mark.parametrize("around", AROUND, ids=repr)
@pytest.mark.parametrize("by_file", [False, True])
@pytest.mark.parametrize(("name", "value"), SECRETS.items(), ids=SECRETS)
def test_what_stands_around_a_secret_is_no_part_of_it(
    load: Loader, tmp_path: Path, name: str, value: str, *, by_file: bool, around: str
) -> None:
    partner = {"WHAUL_ROOT_ACCESS_KEY_ID": "ROOT\n"} if name == "WHAUL_ROOT_SECRET_ACCESS_KEY" else {}
    text = value + around if around.isspace() else around + value
    file = tmp_path / "secret"
    file.write_text(text, encoding="utf-8", newline="")
    settings = load(**partner, **({f"{name}_FILE": str(file)} if by_file else {name: text}))
    found = getattr(settings, name.removeprefix("WHAUL_").lower()).get_secret_value()
    if name == "WHAUL_SECRET_KEY":
        assert Cipher(SecretStr(found)).renew(Cipher(SecretStr(value)).encrypt(SecretStr("x"))) is None
    else:
        assert found == value


@pytest.mark.parametrize(
    "spoilt", ["{}\n{}", "{}\x1b[2J", "{}\u00e9", "{}\u200b", "{} {}", '"{}"', "\udcff{}", "{}" * 1000]
)
def test_a_root_secret_that_no_client_can_send_is_refused(load: Loader, spoilt: str) -> None:
    (problem,) = load.problems(
        WHAUL_ROOT_ACCESS_KEY_ID="ROOT", WHAUL_ROOT_SECRET_ACCESS_KEY=spoilt.format(*[SECRET] * 1000)
    )
    assert problem.startswith("WHAUL_ROOT_SECRET_ACCESS_KEY: ")


def test_a_secret_in_place_of_its_files_name_is_not_repeated(load: Loader) -> None:
    (problem,) = load.problems(WHAUL_SECRET_KEY_FILE=SECRET)
    assert problem.startswith("WHAUL_SECRET_KEY_FILE: cannot read the file: ")


def test_an_endless_file_is_no_secret(load: Loader) -> None:
    (problem,) = load.problems(WHAUL_SECRET_KEY_FILE="/dev/zero")
    assert "WHAUL_SECRET_KEY_FILE: the file has more than" in problem


def test_a_user_without_a_home_is_told_what_to_set(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # which has no entry in the password database
    (problem,) = load.problems()
    assert problem.startswith("WHAUL_DATABASE_URL: unset, and this user has no home folder")
    assert load(WHAUL_DATABASE_URL="sqlite:////x/whaul.db")


def test_a_problem_is_one_line(load: Loader) -> None:
    with pytest.raises(SettingsError) as caught:
        load(WHAUL_HOST="a", WHAUL_AUTH="x\n  WHAUL_FORGED\x1b[2J\u202e")
    assert len(str(caught.value).splitlines()) == 2
    assert r"x\n  WHAUL_FORGED\x1b[2J\u202e" in str(caught.value)


def test_postgresql_needs_a_secret_key_of_its_own(load: Loader) -> None:
    url = "postgresql://whaul:word@host/db"
    (problem,) = load.problems(WHAUL_DATABASE_URL=url)
    assert problem.startswith("WHAUL_SECRET_KEY: required with PostgreSQL")
    assert "make one with: head" in problem
    assert "word" not in problem
    assert load(WHAUL_DATABASE_URL=url, WHAUL_SECRET_KEY=KEY).database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHAUL_SECRET_KEY", SECRET),
        ("WHAUL_SECRET_KEY", f"{KEY},{SECRET}"),
        ("WHAUL_SECRET_KEY", f"{KEY},"),
        ("WHAUL_DATABASE_URL", f"mysql://user:{SECRET}@host/db"),
        ("WHAUL_DATABASE_URL", f"postgresql://user:{SECRET}@host"),
        ("WHAUL_DATABASE_URL", f"sqlite:///{SECRET}\nx.db"),
        ("WHAUL_DATABASE_URL", SECRET),
        ("WHAUL_ROOT_SECRET_ACCESS_KEY", SECRET),
        ("WHAUL_ROOT_SECRET_ACCESS_KEY", "short"),
    ],
)
def test_a_secret_that_cannot_be_used_is_named_and_not_repeated(load: Loader, name: str, value: str) -> None:
    (problem,) = load.problems(**{name: value})
    assert problem.startswith(f"{name}: ")
    assert value not in problem


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"WHAUL_ROOT_ACCESS_KEY_ID": "ROOT"}, "WHAUL_ROOT_SECRET_ACCESS_KEY"),
        ({"WHAUL_TLS_CERT_FILE": os.__file__}, "WHAUL_TLS_KEY_FILE"),
        ({"WHAUL_TLS_KEY_FILE": os.__file__}, "WHAUL_TLS_KEY_FILE"),
        ({"WHAUL_ROOT_ACCESS_KEY_ID": "a b", "WHAUL_ROOT_SECRET_ACCESS_KEY": SECRET}, "WHAUL_ROOT_ACCESS_KEY_ID"),
        ({"WHAUL_ROOT_ACCESS_KEY_ID": "schlüssel", "WHAUL_ROOT_SECRET_ACCESS_KEY": SECRET}, "WHAUL_ROOT_ACCESS_KEY_ID"),
    ],
)
def test_what_belongs_together_is_set_together(load: Loader, environ: dict[str, str], named: str) -> None:
    (problem,) = load.problems(**environ)
    assert problem.startswith(named)


def test_options_of_the_command_line_win_where_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAUL_PORT", "1")
    assert Settings.load(port=2, host=None).port == 2
    assert Settings.load(port=None).port == 1
    with pytest.raises(SettingsError, match="--port=99999: should be"):
        Settings.load(port=99999)


def test_tags_are_written_as_s3_wants_them(load: Loader) -> None:
    assert load().s3_tagging is None
    assert load(WHAUL_S3_TAGS="team=a b,cost=ä&=c").s3_tagging == "team=a+b&cost=%C3%A4%26%3Dc"


def test_settings_do_not_change(load: Loader) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1


LINKS = {
    "WHAUL_SERVICE_HOST": "10.96.12.7",
    "WHAUL_SERVICE_PORT": "8080",
    "WHAUL_SERVICE_PORT_HTTP_METRICS": "8080",
    "WHAUL_PORT": "tcp://10.96.12.7:8080",
    "WHAUL_PORT_8080_TCP": "tcp://10.96.12.7:8080",
    "WHAUL_PORT_8080_TCP_PROTO": "tcp",
    "WHAUL_PORT_8080_TCP_PORT": "8080",
    "WHAUL_PORT_8080_TCP_ADDR": "10.96.12.7",
    "WHAUL_POSTGRESQL_SERVICE_HOST": "10.96.12.8",
    "WHAUL_POSTGRESQL_SERVICE_PORT_TCP_POSTGRESQL": "5432",
    "WHAUL_POSTGRESQL_PORT": "tcp://[fd00::8]:5432",
    "WHAUL_POSTGRESQL_PORT_5432_UDP_ADDR": "fd00::8",
    "WHAUL_NAME": "/web/whaul",
    "WHAUL_ENV_PATH": "/usr/bin",
}
"""Of a Service named `whaul`, of one named `whaul-postgresql`, and of a container link."""


def test_what_kubernetes_and_container_links_put_into_the_environment_is_ignored(load: Loader) -> None:
    assert load(**LINKS).port == 8080


def test_an_option_wins_over_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAUL_PORT", LINKS["WHAUL_PORT"])
    assert Settings.load(port=9000).port == 9000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WHAUL_SERVICE", "x"),
        ("WHAUL_SERVICES_HOST", "10.96.12.7"),
        ("WHAUL_PORTS", "8080"),
        ("WHAUL_PORT_8080", "tcp://10.96.12.7:8080"),
        ("WHAUL_LISTEN_PORT", "8080"),
        ("WHAUL_NAME", "whaul"),
        ("whaul_service_host", "10.96.12.7"),
    ],
)
def test_what_only_resembles_a_link_is_refused(load: Loader, name: str, text: str) -> None:
    assert [problem.partition(":")[0] for problem in load.problems(**{name: text})] == [name]


@pytest.mark.parametrize("text", ["tcp:8080", "http://10.96.12.7:8080", "10.96.12.7:8080"])
def test_a_port_that_is_no_link_is_refused(load: Loader, text: str) -> None:
    assert load.problems(WHAUL_PORT=text)[0].startswith("WHAUL_PORT=")

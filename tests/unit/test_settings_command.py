"""`whaul settings`: every setting, what it is, and what it comes from."""

import json
import os
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from whaul.cli import app
from whaul.environment import environment_name
from whaul.settings import Settings, SettingsError

SECRET = "a-secret-of-forty-characters-or-thereabouts"
STRANGERS = ("AWS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT", "REQUESTS_CA", "CURL_CA")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith((*STRANGERS, "WHAUL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["settings", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def rows(*arguments: str) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads(printed("--json", *arguments))["settings"]}


def test_every_setting_is_shown_with_its_default() -> None:
    found = rows()
    assert {environment_name(name) for name in Settings.model_fields} <= found.keys()
    assert {row["source"] for row in found.values()} == {"default"}
    assert (found["WHAUL_PORT"]["value"], found["WHAUL_SECRET_KEY"]["value"]) == (8080, None)
    assert found["endpoint"]["value"] == "https://s3.us-east-1.amazonaws.com"
    text = printed()
    assert all(name in text for name in found)


def test_a_value_is_shown_with_the_variable_that_gives_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    given = {
        "WHAUL_PORT": ("9000", "WHAUL_PORT", 9000),
        "AWS_DEFAULT_REGION": ("eu-west-1", "AWS_DEFAULT_REGION", "eu-west-1"),
        "WHAUL_S3_TAGS": ("team=a,cost=b", "WHAUL_S3_TAGS", {"team": "a", "cost": "b"}),
        "WHAUL_ROOT_ACCESS_KEY_ID": ("root", "WHAUL_ROOT_ACCESS_KEY_ID", "root"),
        "WHAUL_ROOT_SECRET_ACCESS_KEY_FILE": (str(tmp_path / "secret"), "WHAUL_ROOT_SECRET_ACCESS_KEY_FILE", "***"),
    }
    for name, (text, *_) in given.items():
        monkeypatch.setenv(name, text)
    found = rows("--changed")
    assert found.keys() == {
        *("WHAUL_PORT", "AWS_REGION", "WHAUL_S3_TAGS", "WHAUL_ROOT_ACCESS_KEY_ID", "WHAUL_ROOT_SECRET_ACCESS_KEY"),
    }
    for name, (_, source, value) in given.items():
        shown = {"AWS_DEFAULT_REGION": "AWS_REGION"}.get(name, name.removesuffix("_FILE"))
        assert (found[shown]["source"], found[shown]["value"]) == (source, value)
    assert "team=a,cost=b" in printed()


def test_a_credential_is_shown_as_what_gives_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "WHAUL_SECRET_KEY").write_bytes(Fernet.generate_key())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    [row] = rows("--changed").values()
    assert (row["source"], row["value"]) == ("credential WHAUL_SECRET_KEY", "***")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("WHAUL_SECRET_KEY", key := Fernet.generate_key().decode())
    monkeypatch.setenv("WHAUL_DATABASE_URL", f"postgresql://user:{SECRET}@db.example/whaul?sslpassword={SECRET}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@proxy.example:3128")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    shown = printed(*arguments)
    assert SECRET not in shown
    assert key not in shown
    assert "postgresql://***@db.example/whaul" in shown
    assert "http://***@proxy.example:3128" in shown


def test_what_the_profile_says_is_shown_with_what_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(
        "[profile minio]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9000\n"
        "request_checksum_calculation = when_required\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "minio")
    found = rows()
    assert (found["profile"]["value"], found["profile"]["source"]) == ("minio", "AWS_PROFILE")
    assert (found["endpoint"]["value"], found["endpoint"]["source"]) == ("http://127.0.0.1:9000", "AWS profile")
    assert found["checksum header"]["value"] is False
    assert found["region of the profile"]["value"] == "eu-west-1"
    assert "not used" in str(found["region of the profile"]["source"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9001/")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    found = rows()
    assert found["endpoint"]["source"] == "AWS_ENDPOINT_URL_S3"
    assert "region of the profile" not in found


def test_settings_that_cannot_be_used_are_told_as_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAUL_PROT", "1")
    result = CliRunner().invoke(app, ["settings"])
    assert isinstance(result.exception, SettingsError)
    assert "WHAUL_PROT: there is no such setting; did you mean WHAUL_PORT?" in str(result.exception)


def test_that_nothing_is_changed_is_said() -> None:
    assert "Everything has its default" in printed("--changed")

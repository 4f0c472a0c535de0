"""The console's doctor: the checks on demand, and the settings with their source."""

from collections.abc import Iterator

import pytest

from harness.console import RunningConsole, Visitor, allow, console, words
from harness.store import BUCKET, Store
from harness.world import World

SECRET, PASSWORD = "s3cret-of-an-app", "hidden-word"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def checked_console(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console of the simulated account, with a setting from each kind of place."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "app-secrets").write_text(f"900={SECRET}", encoding="utf-8")
    (folder / "credentials").mkdir()
    (folder / "credentials" / "WHAUL_WEBHOOK_VERIFY_TOKENS").write_text("a-secret-word", encoding="utf-8")
    environ = world.environ | {
        "WHAUL_PORT": "0",
        "WHAUL_AUDIT_LOG": str(folder / "audit.log"),
        "WHAUL_APP_SECRETS_FILE": str(folder / "app-secrets"),
        "CREDENTIALS_DIRECTORY": str(folder / "credentials"),
        "WHAUL_GRAPH_USER_AGENT": HOSTILE,
        "HTTPS_PROXY": f"http://user:{PASSWORD}@127.0.0.1:1",
        "NO_PROXY": "127.0.0.1",
    }
    with console(environ, folder) as running:
        yield running


@pytest.fixture(scope="module")
def patient(checked_console: RunningConsole) -> Visitor:
    return checked_console.sign_in(checked_console.key("--allow-all"))


def test_checks_are_made_on_demand_and_say_what_to_do(
    patient: Visitor, world: World, store: Store, checked_console: RunningConsole
) -> None:
    assert "Nothing was checked yet" in words(patient.get("/doctor"))
    page = patient.submit("/doctor", {"bucket": BUCKET})
    told = words(page)
    assert f"account {world.simulator.waba_id} ok" in told
    assert f"bucket {BUCKET} ok a write succeeded" in told
    assert "settings warning tokens are sent to" in told
    assert "unset it, unless it is a proxy or a simulator of yours" in told
    assert f"whaul doctor --bucket {BUCKET}" in told
    for place in ("observe#when-a-token-ends", "deploy#the-database", "security#where-files-go"):
        assert f'href="/docs/{place}"' in page.text
    assert store.keys(".whaul-doctor-") == []
    [record] = checked_console.audited(eventName="ViewServer", readOnly=False)
    assert record["requestParameters"]["bucket"] == BUCKET
    assert "failed" in words(patient.submit("/doctor", {"bucket": HOSTILE}))
    assert HOSTILE not in patient.get("/doctor").text


def test_settings_are_shown_with_their_source_and_without_secrets(patient: Visitor) -> None:
    page = patient.get("/doctor")
    told = words(page)
    for row in (
        "WHAUL_HOST 127.0.0.1 default",
        "WHAUL_PORT 0 environment",
        "WHAUL_SECRET_KEY not set default",
        "WHAUL_APP_SECRETS set file WHAUL_APP_SECRETS_FILE",
        "WHAUL_WEBHOOK_VERIFY_TOKENS set credential directory credential WHAUL_WEBHOOK_VERIFY_TOKENS",
        "WHAUL_GRAPH_USER_AGENT &lt;script&gt;alert(1)&lt;/script&gt; environment",
        "https_proxy http://***@127.0.0.1:1 environment HTTPS_PROXY",
        "endpoint http://127.0.0.1",
    ):
        assert row in told
    for secret in (SECRET, "a-secret-word", PASSWORD, HOSTILE):
        assert secret not in page.text
    changed = words(patient.get("/doctor?changed"))
    assert "WHAUL_PORT" in changed
    assert "WHAUL_HOST" not in changed


def test_rights_are_those_of_the_policy(checked_console: RunningConsole) -> None:
    _, stranger = checked_console.with_policy(allow("whaul:ViewMessages"))
    assert stranger.get("/doctor").status == 403
    assert stranger.post("/doctor").status == 403
    _, visitor = checked_console.with_policy(allow("whaul:ViewServer"))
    assert "Bucket to try a write in" not in words(visitor.get("/doctor"))
    assert visitor.post("/doctor", {"bucket": BUCKET}).status == 403

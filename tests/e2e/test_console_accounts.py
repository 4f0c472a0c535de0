"""The console's accounts, over a simulated Meta."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.console import RunningConsole, Visitor, allow, console, inside, unlinked, words
from harness.inbox import OWNER, REGION, Installation
from harness.world import World
from whaul.arns import Arns
from whaul.events.archive.files import Files
from whaul.events.archive.parking import Parking
from whaul.simulator import Simulator

OTHER_WABA = "102290129349999"
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:orders"


@pytest.fixture(scope="module")
def own(running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> World:
    return unlinked(running_simulator, tmp_path_factory.mktemp("accounts"))


@pytest.fixture(scope="module")
def site(own: World) -> Iterator[RunningConsole]:
    with console(own.environ, own.folder) as found:
        yield found


@pytest.fixture(scope="module")
def operator(site: RunningConsole) -> Visitor:
    return site.sign_in(site.key("--allow-all"))


@pytest.fixture(scope="module")
def here(own: World, site: RunningConsole, operator: Visitor) -> str:
    """The page of the simulated account, which was linked by the console."""
    empty = words(operator.get("/accounts"))
    assert "No account is linked. You need Meta's id" in empty
    assert "whaul link --waba-id ID --token-file FILE" in empty
    waba_id = own.simulator.waba_id
    for members, told in (
        ({"waba_id": "12a", "token": "never-shown"}, "has only digits"),
        ({"waba_id": waba_id, "token": "two words"}, "a space within"),
        ({"waba_id": waba_id, "token": "wrong-token"}, "AccessDeniedByMetaException"),
    ):
        reply = operator.post("/accounts/link", members)
        assert reply.status == 400
        assert told in words(reply)
        assert members["token"] not in reply.text
    assert site.audited(eventName="AssociateWhatsAppBusinessAccount", errorCode="AccessDeniedByMetaException")
    done = operator.post("/accounts/link", {"waba_id": waba_id, "token": f" {own.simulator.token}\n"})
    place = done.headers["location"]
    page = operator.get(place)
    assert "Linked with 2 phone numbers" in words(page)
    assert own.simulator.token not in page.text
    asked = {"path": "/accounts/link", "resources": ["*", Arns(OWNER, REGION).arn(place.rpartition("/")[2])]}
    assert site.audited(eventName="AssociateWhatsAppBusinessAccount", readOnly=False, requestParameters=asked)
    assert own.simulator.token not in Path(own.environ["WHAUL_AUDIT_LOG"]).read_text(encoding="utf-8")
    return place


async def refuse(installation: Installation) -> None:
    """Have Meta refuse the one token that there is."""
    [(account_id, token)] = await installation.rows("SELECT id, substr(access_token, 1, 32) FROM accounts")
    files = Files(installation.store, installation.cipher, OWNER, "p1")
    await Parking(installation.store, installation.cipher, OWNER, files).park(account_id, token, "it <b>may</b> not")


def test_a_token_is_shown_as_it_was_seen_last_and_asked_about(here: str, own: World, operator: Visitor) -> None:
    page = words(operator.get(here))
    for part in (
        "complete",
        "token good",
        "connected",
        "App secret none",
        f"whaul link --waba-id {own.simulator.waba_id}",
    ):
        assert part in page
    own.simulator.configure(token_expires_at=2_000_000_000)
    asked = words(operator.post(f"{here}/check"))
    assert "Meta was asked just now" in asked
    assert "no secret of the app is known" in asked  # the simulator is shared: it may have a URL from another test
    assert "2033-05-18 03:33:20" in operator.get(here).text

    inside(own.folder / "whaul.db", refuse)
    page = operator.get(here)
    assert "Meta refused this account's token" in words(page)
    assert "it &lt;b&gt;may&lt;/b&gt; not" in page.text
    assert "token refused" in words(operator.get("/accounts?trouble=refused"))
    operator.submit("/accounts/link", {"waba_id": own.simulator.waba_id, "token": own.simulator.token})
    assert "token refused" not in words(operator.get(here))


def test_tags_and_destinations_are_changed_and_the_account_is_unlinked(
    here: str, own: World, operator: Visitor
) -> None:
    id_ = here.rpartition("/")[2]
    tag = {"resource": id_, "key": "<team>", "value": "a&b"}
    page = operator.submit(f"{here}/tag", tag)
    assert "&lt;team&gt; = a&amp;b" in page.text
    assert "may not begin with aws:" in words(operator.post(f"{here}/tag", tag | {"key": "aws:x"}))
    assert operator.post(f"{here}/tag", tag | {"resource": "waba-0"}).status == 404
    assert "No tags." in words(operator.submit(f"{here}/untag", tag))
    assert QUEUE in words(operator.submit(f"{here}/destinations", {"arn": QUEUE}))
    assert operator.post(f"{here}/destinations", {"arn": "arn:aws:sqs:nowhere"}).status == 400
    assert f"Set by the API {QUEUE}" in words(operator.get(here))
    assert "Set by the API nothing" in words(operator.submit(f"{here}/destinations", {"known": "", "arn": ""}))
    assert "Unlink" in words(operator.get(f"{here}/unlink"))
    assert "is not linked any more" in words(operator.submit(f"{here}/unlink"))
    assert operator.get(here).status == 404
    assert own.whaul("accounts") == {"linkedAccounts": []}
    operator.submit("/accounts/link", {"waba_id": own.simulator.waba_id, "token": own.simulator.token})


def test_accounts_are_found_and_seen_within_the_policy(here: str, site: RunningConsole, operator: Visitor) -> None:
    site.do(
        "link",
        "--no-verify",
        "--waba-id",
        OTHER_WABA,
        "--name",
        "Ünion <i>",
        "--phone-number=106540352249999=+1 555 010-0200",
    )
    found = operator.get("/accounts?text=15550100200")
    assert "Ünion" in operator.get("/accounts?text=%C3%9CNION").text
    assert "Ünion &lt;i&gt;" in found.text
    assert here not in found.text
    assert OTHER_WABA in operator.get("/accounts?trouble=incomplete").text
    assert "No account fits" in words(operator.get("/accounts?text=%25"))
    for wrong in ("trouble=x", "after=x"):
        assert operator.get(f"/accounts?{wrong}").status == 400
    _, visitor = site.with_policy(
        allow("whaul:ViewAccounts", resource=Arns(OWNER, REGION).arn(here.rpartition("/")[2]))
    )
    assert OTHER_WABA not in visitor.get("/accounts").text
    page = words(visitor.get(here))
    for part in ("Replace the token", "Unlink", "Set the tag"):
        assert part not in page
    assert visitor.get("/accounts/waba-" + "0" * 32).status == 403
    for target in ("/accounts/link", *(f"{here}/{rest}" for rest in ("destinations", "tag", "untag", "unlink"))):
        assert visitor.post(target).status == 403


async def link_many(installation: Installation) -> None:
    for number in range(100):
        await installation.link(f"9{number:03}", [f"8{number:03}"])


def test_of_many_accounts_some_are_shown(here: str, own: World, operator: Visitor) -> None:
    inside(own.folder / "whaul.db", link_many)
    first = operator.get("/accounts")
    assert first.text.count('<th scope="row">') == 50
    [more] = re.findall(r'href="([^"]+)" rel="next"', first.text)
    second = operator.get(f"/accounts{more.replace('&amp;', '&')}")
    assert here in first.text
    assert here not in second.text
    for page in (first, second):
        assert "accounts. Messages and last events" in words(page)
    assert "/accounts/waba-" in operator.get("/accounts?text=9077").text
    for path in ("/messages", "/send"):
        assert "+1 555 8099" not in words(operator.get(path))
    assert 'name="find"' in operator.get("/send").text
    assert "+1 555 8099" in words(operator.get("/send?find=9099"))

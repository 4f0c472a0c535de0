"""The console's keys: made once with their secret, changed after a look, and never beyond what their maker may do."""

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest

from harness.client import Reply
from harness.console import RunningConsole, Visitor, allow, inside, words
from harness.inbox import NUMBER, OWNER, REGION
from whaul.arns import Arns

ARNS = Arns(OWNER, REGION)
HOSTILE = "<script>alert(1)</script>"
MANAGER = ("whaul:ViewKeys", "whaul:ManageKeys", "whaul:ViewMessages")


@pytest.fixture(scope="module")
def manager(running_console: RunningConsole) -> tuple[str, Visitor]:
    """Somebody who may manage keys, and see messages."""
    return running_console.with_policy(allow(*MANAGER))


def hidden(page: Reply, name: str) -> str:
    """Read a hidden member of a form."""
    [value] = re.findall(rf'name="{name}" value="([^"]*)"', page.body.decode())
    return unescape(value)


def make(visitor: Visitor, **members: str) -> Reply:
    once = hidden(visitor.get("/keys/new"), "once")
    return visitor.post("/keys/new", {"name": "made", "policy": allow("whaul:ViewMessages"), "once": once} | members)


def policy_of(console: RunningConsole, key: str) -> object:
    return json.loads(console.do("keys", "show", key, "--json"))["accessKey"]["policy"]


def test_a_key_is_made_and_its_secret_is_shown_once(operator: Visitor, running_console: RunningConsole) -> None:
    form = operator.get("/keys/new?role=viewer")
    assert "whaul keys create --name NAME --role viewer" in words(form)
    members = {"name": "desk", "life": "1h", "once": hidden(form, "once"), "policy": allow("whaul:ViewMessages")}
    made = operator.post("/keys/new", members)
    assert made.status == 200
    assert made.headers["cache-control"] == "no-store"
    found = dict(line.split("=", 1) for line in re.findall(r"AWS_\w+=[^\s<]+", unescape(made.body.decode())))
    key, secret = found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]
    assert key.startswith("ASIA")
    assert found["AWS_SESSION_TOKEN"]
    assert operator.post("/keys/new", members).status == 409, "loaded again"
    assert running_console.sign_in(key).get("/messages").status == 200
    [record, *_] = running_console.audited(eventName="ManageKeys", readOnly=False)
    assert record["requestParameters"]["accessKeyId"] == key
    rest = [operator.get(path).text for path in ("/keys", f"/keys/{key}", f"/keys/{key}/policy")]
    rest += [running_console.log.read_text(), running_console.log.with_name("audit.log").read_text()]
    for text in rest:
        assert secret not in text
        assert found["AWS_SESSION_TOKEN"] not in text
    assert f"desk {key} temporary the console" in words(operator.get("/keys"))


def test_a_key_is_disabled_enabled_and_deleted_after_a_question(
    operator: Visitor, running_console: RunningConsole
) -> None:
    key, visitor = running_console.with_policy(allow("whaul:View*"))
    asked = words(operator.get(f"/keys/{key}/disable"))
    assert "It was used lately" in asked
    assert f"whaul keys disable {key}" in asked
    assert "disabled" in words(operator.submit(f"/keys/{key}/disable"))
    assert visitor.get("/messages").status == 303, "signed out"
    assert "enabled" in words(operator.submit(f"/keys/{key}/enable"))
    assert "cannot be undone" in words(operator.get(f"/keys/{key}/delete"))
    assert "is deleted" in words(operator.submit(f"/keys/{key}/delete"))
    assert operator.get(f"/keys/{key}").status == 404


def test_a_policy_is_replaced_after_a_look_at_what_changes(operator: Visitor, running_console: RunningConsole) -> None:
    key = running_console.key("--role", "viewer")
    here, wanted = f"/keys/{key}/policy", allow("whaul:ViewMessages", "whaul:ViewContent")
    before = policy_of(running_console, key)
    for wrong, told in {
        "": "line 1, column 1",
        '{"Statement": [],\n}': "line 2",
        json.dumps(json.loads(allow("x")), indent=1): "Line 5: Statement.Action[0]: must be",
        json.dumps({"Statement": {}, HOSTILE: 1}): "&lt;script&gt;",
    }.items():
        reply = operator.post(here, {"policy": wrong})
        assert reply.status == 400
        assert told in words(reply)
    shown = operator.post(here, {"policy": wanted})
    assert "whaul:ViewContent allowed each account" in words(shown)
    assert "whaul:ViewArchives whaul:ViewAccounts not any more each account" in words(shown)
    assert policy_of(running_console, key) == before
    seen = {"policy": hidden(shown, "policy"), "seen": hidden(shown, "seen")}
    other = seen | {"policy": allow("whaul:ViewMessages")}
    assert "Change the policy?" in words(operator.post(here, other)), "not the one that was shown"
    assert "has another policy" in words(operator.submit(here, seen))
    assert policy_of(running_console, key) == json.loads(wanted)


def test_a_policy_that_an_older_version_took_is_shown_and_replaced(
    operator: Visitor, running_console: RunningConsole, console_database: Path
) -> None:
    key = running_console.key("--role", "viewer")
    old = "UPDATE access_keys SET policy = $1 WHERE access_key_id = $2"
    inside(console_database, lambda here: here.rows(old, '{"Statement": []}', key))
    assert "cannot be evaluated" in words(operator.get("/keys"))
    assert "may do nothing" in words(operator.get(f"/keys/{key}"))
    assert "must be a statement" in words(operator.get(f"/keys/simulator?key={key}"))
    shown = operator.post(f"/keys/{key}/policy", {"policy": allow("whaul:ViewMessages")})
    assert "whaul:ViewMessages allowed each account" in words(shown)
    seen = {"policy": hidden(shown, "policy"), "seen": hidden(shown, "seen")}
    assert "has another policy" in words(operator.submit(f"/keys/{key}/policy", seen))


def test_nobody_makes_or_changes_what_may_do_more(
    manager: tuple[str, Visitor], running_console: RunningConsole
) -> None:
    own, visitor = manager
    admin = running_console.key("--allow-all")
    refused = make(visitor, policy=allow("*"))
    assert refused.status == 400
    assert "Statement allows * on *, which your key does not" in words(refused)
    assert "AWS_SECRET" not in refused.text
    assert "You may not change it. This key may do more than yours" in words(visitor.get(f"/keys/{admin}"))
    for verb in ("enable", "disable", "delete", "policy", "limit"):
        assert visitor.post(f"/keys/{admin}/{verb}", {"policy": allow("whaul:ViewMessages")}).status == 403
    assert visitor.post(f"/keys/{own}/policy", {"policy": allow("whaul:*")}).status == 400
    assert make(visitor).status == 200
    for page in ("/keys/new?role=admin", "/keys/new?role=viewer"):
        assert "more than your own key" in words(visitor.get(page))


def test_a_temporary_key_makes_and_changes_none_that_outlasts_it(running_console: RunningConsole) -> None:
    path = running_console.log.with_name("temporary.json")
    path.write_text(allow(*MANAGER))
    lasting = running_console.key("--policy", str(path))
    visitor = running_console.sign_in(running_console.key("--policy", str(path), "--expires-in", "1h"))
    made = make(visitor, life="90d")
    own = json.loads(running_console.do("keys", "list", "--json"))["accessKeys"][-2:]
    assert made.status == 200
    assert own[0]["expiration"] == own[1]["expiration"] is not None
    assert "lasts longer than yours" in words(visitor.get(f"/keys/{lasting}"))
    assert visitor.post(f"/keys/{lasting}/disable").status == 403


def test_who_narrows_or_disables_the_own_key_is_told_before(running_console: RunningConsole) -> None:
    key, visitor = running_console.with_policy(allow(*MANAGER))
    assert "You will be signed out at once" in words(visitor.get(f"/keys/{key}/disable"))
    assert "You will be signed out at once" in words(visitor.get(f"/keys/{key}/delete"))
    narrow = allow("whaul:ViewMessages")
    shown = visitor.post(f"/keys/{key}/policy", {"policy": narrow})
    assert "you may not manage keys any more" in words(shown)
    reply = visitor.submit(f"/keys/{key}/policy", {"policy": narrow, "seen": hidden(shown, "seen")})
    assert reply.headers["location"] == "/messages"
    assert visitor.get("/keys").status == 403


def test_the_simulator_says_which_statement_decides(operator: Visitor, running_console: RunningConsole) -> None:
    number = ARNS.arn(ARNS.phone_number_id(NUMBER))
    send, hostile = "social-messaging:SendWhatsAppMessage", ARNS.event_destination(HOSTILE)
    path = running_console.log.with_name("mixed.json")
    statements = [
        {"Sid": "Talk", "Effect": "Allow", "Action": "social-messaging:Send*", "Resource": [number, hostile]},
        {"Sid": "Blind", "Effect": "Deny", "Action": "whaul:ViewContent", "Resource": "*"},
    ]
    path.write_text(json.dumps({"Statement": statements}))
    key = running_console.key("--policy", str(path))

    def ask(**members: str) -> str:
        return words(operator.get(f"/keys/simulator?{urlencode(members)}"))

    assert "Allowed by the statement Talk." in ask(key=key, action="SendWhatsAppMessage", resource=number)
    denied = ask(key=key, action="whaul:ViewContent", resource=ARNS.arn("waba-" + "0" * 32))
    assert "Denied by the statement Blind." in denied
    elsewhere = number[:-1] + "x"
    nearly = ask(key=key, action=send, resource=elsewhere)
    assert "Denied: no statement allows it." in nearly
    assert "Talk allows the action, but only on" in nearly
    [command] = re.findall(r"whaul keys simulate \S+ --action \S+ --resource \S+", nearly)
    assert running_console.do(*command.split()[1:]) == "Denied: no statement allows it.\n"
    assert f"{send} +15550100100 Talk" in ask(key=key)
    pasted = ask(policy=path.read_text(), action=send, resource="*")
    assert "--policy policy.json" in pasted
    for wrong in (
        {"policy": HOSTILE},
        {"key": key, "action": HOSTILE},
        {"key": key, "action": "s3:x", "resource": HOSTILE},
    ):
        reply = operator.get(f"/keys/simulator?{urlencode(wrong)}")
        assert reply.status == 200
        assert HOSTILE not in reply.text
    assert HOSTILE not in operator.get(f"/keys/{key}").text
    assert operator.get("/keys/simulator?key=AKIANOTHING").status == 404


def test_rights_are_those_of_the_policy(running_console: RunningConsole) -> None:
    key, viewer = running_console.with_policy(allow("whaul:ViewKeys"))
    assert "Make a key" not in words(viewer.get("/keys"))
    assert {"Disable", "Limit"}.isdisjoint(words(viewer.get(f"/keys/{key}")).replace("…", "").split())
    assert viewer.get(f"/keys/{key}/limit").status == 403
    assert viewer.get("/keys/new").status == 403
    assert viewer.post(f"/keys/{key}/delete").status == 403
    _, stranger = running_console.with_policy(allow("whaul:ViewMessages"))
    for path in ("/keys", f"/keys/{key}", "/keys/simulator"):
        assert stranger.get(path).status == 403


def test_a_limit_is_set_and_taken_back(operator: Visitor, running_console: RunningConsole) -> None:
    key = running_console.key("--role", "viewer")
    here = f"/keys/{key}/limit"
    assert f"whaul keys limit {key} --rate-limit N --rate-burst N" in words(operator.get(here))
    assert "2.5 a second, 4 at once" in words(operator.submit(here, {"rate": "2.5", "burst": "4"}))
    assert "2.5 calls per second, 4 at once" in running_console.do("keys", "show", key)
    [*_, record] = running_console.audited(eventName="ManageKeys", readOnly=False)
    assert record["requestParameters"].items() >= {"accessKeyId": key, "rateLimit": 2.5, "rateBurst": 4}.items()
    assert 'name="rate" value="2.5"' in operator.get(here).text
    for rate, burst in [("-1", ""), ("nan", ""), ("1000001", ""), ("x", ""), ("5", "0"), ("5", "1.5"), ("", "3")]:
        refused = operator.post(here, {"rate": rate, "burst": burst})
        assert refused.status == 400
        assert f'name="rate" value="{rate}"' in refused.text
    assert "as many as it likes" in words(operator.submit(here, {"rate": "0", "burst": ""}))
    assert "as many as the server lets" in words(operator.submit(here, {"rate": "", "burst": ""}))


def test_a_key_is_as_slow_as_the_one_that_makes_it(running_console: RunningConsole) -> None:
    path = running_console.log.with_name("slow.json")
    path.write_text(allow(*MANAGER))
    visitor = running_console.sign_in(running_console.key("--policy", str(path), "--rate-limit", "7"))
    made = unescape(make(visitor).body.decode())
    [key] = re.findall(r"AWS_ACCESS_KEY_ID=(\w+)", made)
    assert json.loads(running_console.do("keys", "show", key, "--json"))["accessKey"]["rateLimit"] == 7
    for rate, burst in [("", ""), ("0", ""), ("7.5", ""), ("7", "8")]:
        assert visitor.post(f"/keys/{key}/limit", {"rate": rate, "burst": burst}).status == 400
    assert "7 calls a second, 7 at once" in words(visitor.post(f"/keys/{key}/limit", {"rate": "8"}))
    assert "6.0 a second" in words(visitor.submit(f"/keys/{key}/limit", {"rate": "6", "burst": "7"}))

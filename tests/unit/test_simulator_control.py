"""The control endpoint, over HTTP as a user of any language meets it."""

import hashlib
from collections.abc import Iterator

import pytest

from harness.simulator_client import JPEG, MISSING, PDF, Client, running


@pytest.fixture
def client() -> Iterator[Client]:
    with running() as client:
        yield client


def test_the_state_lists_the_account_its_numbers_and_the_media(client: Client) -> None:
    state = client.control("GET", "state").json()
    assert state["waba_id"] == client.sim.waba_id
    assert [number["id"] for number in state["phone_numbers"]] == [n.id for n in client.sim.phone_numbers]
    assert [media["id"] for media in state["media"]] == [*client.sim.media]
    assert (state["now"], state["faults"]) == (client.clock.now, [])
    assert state["settings"]["file_size"] == "number"


def test_raw_bytes_become_a_media(client: Client) -> None:
    reply = client.control("POST", "media?id=42&file_size=string", b"hello", Content_Type="text/plain")
    assert (reply.status, reply.json()["id"], reply.json()["size"]) == (201, "42", 5)
    members = client.graph("42").json()
    assert (members["mime_type"], members["file_size"]) == ("text/plain", "5")
    assert client.download(members["url"]).body == b"hello"


def test_without_a_chosen_id_media_get_numeric_ids_of_their_own(client: Client) -> None:
    ids = [client.control("POST", "media", b"x", Content_Type="image/png").json()["id"] for _ in range(3)]
    assert all(media_id.isdecimal() for media_id in ids)
    assert len({*ids, *client.sim.media}) == 6


def test_generated_media_are_the_same_for_the_same_size_and_seed(client: Client) -> None:
    def digest(size: int, seed: int) -> str:
        body = {"size": size, "seed": seed, "mime_type": "video/mp4"}
        media_id = client.control("POST", "media/generate", body).json()["id"]
        members = client.graph(media_id).json()
        content = client.download(members["url"]).body
        assert (len(content), members["file_size"]) == (size, size)
        assert hashlib.sha256(content).hexdigest() == members["sha256"]
        return str(members["sha256"])

    assert digest(600_000, 1) == digest(600_000, 1)
    assert len({digest(600_000, 1), digest(600_000, 2), digest(600_001, 1)}) == 3
    assert digest(0, 1) == hashlib.sha256().hexdigest()


def test_the_hash_of_a_large_generated_media_is_computed_once(client: Client) -> None:
    media_id = client.control("POST", "media/generate", {"size": 20_000_000}).json()["id"]
    assert client.sim.media[media_id].digest is None
    client.graph(media_id)
    kept = client.sim.media[media_id].digest
    client.graph(media_id)
    assert kept is not None
    assert client.sim.media[media_id].digest is kept


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("media/generate", {}, "size"),
        ("media/generate", {"size": -1}, "size"),
        ("media/generate", {"size": True}, "size"),
        ("media/generate", {"size": 10**15}, "size"),
        ("media/generate", {"size": 1, "seed": "x"}, "seed"),
        ("media/generate", {"size": 1, "mime_type": 7}, "mime_type"),
        ("media/generate", {"size": 1, "mime_type": "picture"}, "media type"),
        ("media/generate", {"size": 1, "mime_type": "image/png\r\nX: y"}, "media type"),
        ("media/generate", {"size": 1, "colour": "red"}, "colour"),
        ("media/generate", {"size": 1, "id": "a/b"}, "letters and digits"),
        ("media/generate", {"size": 1, "id": JPEG}, "taken"),
        ("media/generate", {"size": 1, "id": "400000000000001"}, "taken"),
        ("media/generate", {"size": 1, "phone_number_id": MISSING}, "no phone number"),
        ("media/generate", {"size": 1, "origin": "heaven"}, "origin"),
        ("media/generate", {"size": 1, "sha256": "md5"}, "sha256"),
        ("media/generate", [], "object"),
        ("media/generate", b"{", "JSON"),
        ("media?id=a-b", b"x", "letters and digits"),
        ("media?colour=red", b"x", "colour"),
        ("phone-numbers", {"display_phone_number": "+1"}, "verified_name"),
        ("clock", {"advance": -1}, "advance"),
        ("clock", {"advance": True}, "advance"),
        ("clock", {}, "advance"),
        ("flows", {"name": "visit", "preview": {}}, "preview_url"),
        ("flows", {"name": "visit", "preview": {"preview_url": "x", "expires_at": "soon"}}, "expires_at"),
        ("flows", {"name": "visit", "whatsapp_business_account": {}}, "id"),
        ("faults", b"nonsense", "JSON"),
        ("faults", {"media_id": JPEG}, "kind"),
        ("faults", ["reset"], "kind"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(client: Client, path: str, value: object, says: str) -> None:
    before = client.control("GET", "state").json()
    reply = client.control("POST", path, value, Content_Type="image/png")
    assert reply.status == 400
    assert says in reply.json()["error"]
    assert client.control("GET", "state").json() == before


def test_a_refusal_says_what_is_allowed(client: Client) -> None:
    allowed = client.control("POST", "media/generate", {"size": 1, "colour": "red"}).json()["allowed"]
    members = {"size", "mime_type", "seed", "id", "phone_number_id", "origin", "file_size", "sha256", "content_type"}
    assert allowed.keys() == members
    assert allowed["origin"]["enum"] == ["inbound", "upload"]
    clash = client.control("PATCH", f"media/{JPEG}", {"id": PDF})
    assert (clash.status, "path" in clash.json()["error"]) == (400, True)


@pytest.mark.parametrize("value", [{"file_size": "roman"}, {"call_count": -1}, {"colour": 1}, {"media_base_url": "x"}])
def test_bad_settings_are_refused_and_change_nothing(client: Client, value: dict[str, object]) -> None:
    before = client.control("GET", "settings").json()
    reply = client.control("PATCH", "settings", value)
    assert reply.status == 400
    assert reply.json()["allowed"].keys() == before.keys()
    assert client.control("GET", "settings").json() == before


def test_settings_change_one_by_one(client: Client) -> None:
    client.control("PATCH", "settings", {"file_size": "string"})
    reply = client.control("PATCH", "settings", {"sha256": "base64"})
    assert (reply.json()["file_size"], reply.json()["sha256"]) == ("string", "base64")


def test_the_options_of_a_media_change_and_go_back(client: Client) -> None:
    client.control("PATCH", f"media/{JPEG}", {"file_size": "string"})
    assert isinstance(client.graph(JPEG).json()["file_size"], str)
    client.control("PATCH", f"media/{JPEG}", {"file_size": None})
    assert isinstance(client.graph(JPEG).json()["file_size"], int)
    assert client.control("PATCH", f"media/{JPEG}", {"size": 1}).status == 400


def test_a_removed_media_is_gone_and_its_id_may_be_used_again(client: Client) -> None:
    assert client.control("DELETE", f"media/{PDF}").json() == {"removed": PDF}
    assert client.graph(PDF).error["error_subcode"] == 33
    assert client.control("DELETE", f"media/{PDF}").status == 404
    assert client.control("POST", f"media?id={PDF}", b"new", Content_Type="text/plain").status == 201
    assert client.graph(PDF).json()["file_size"] == 3


def test_urls_expire_on_demand_and_with_the_clock(client: Client) -> None:
    url = client.url()
    client.control("POST", f"media/{JPEG}/expire")
    assert client.download(url).status == 404
    url = client.url()
    now = client.control("POST", "clock", {"advance": 300.5}).json()["now"]
    assert now == client.clock.now + 300.5
    assert client.download(url).status == 404
    assert client.control("POST", f"media/{MISSING}/expire").status == 404


def test_faults_are_taken_one_or_many_and_listed_with_what_is_left(client: Client) -> None:
    client.control("POST", "faults", {"media_id": JPEG, "kind": "status", "status": 500, "times": 2})
    client.control("POST", "faults", [{"kind": "wrong_hash"}, {"media_id": PDF, "kind": "reset", "at": 3}])
    client.graph(JPEG)
    faults = client.control("GET", "faults").json()["faults"]
    assert [(f["media_id"], f["kind"], f["hop"], f["hits"], f["left"]) for f in faults] == [
        (JPEG, "status", "metadata", 1, 1),
        ("*", "wrong_hash", "metadata", 0, None),
        (PDF, "reset", "download", 0, None),
    ]
    client.control("DELETE", f"faults?media_id={JPEG}")
    assert len(client.control("GET", "faults").json()["faults"]) == 2
    assert client.control("DELETE", "faults").json() == {"faults": []}


def test_a_list_with_one_bad_fault_is_refused_whole(client: Client) -> None:
    assert client.control("POST", "faults", [{"kind": "reset"}, {"kind": "bang"}]).status == 400
    assert client.control("GET", "faults").json() == {"faults": []}


def test_the_kinds_of_fault_explain_themselves(client: Client) -> None:
    kinds = client.control("GET", "faults/kinds").json()
    assert kinds["truncate"]["parameters"]["hop"]["default"] == "download"
    assert all(kind["does"] and "times" in kind["parameters"] for kind in kinds.values())


def test_requests_are_listed_counted_and_forgotten(client: Client) -> None:
    client.download(client.url(JPEG), User_Agent="mine/1.0")
    client.graph(PDF, token=None)
    answer = client.control("GET", "requests").json()
    assert [(r["hop"], r["object_id"], r["status"], r["token"]) for r in answer["requests"]] == [
        ("metadata", JPEG, 200, "valid"),
        ("download", JPEG, 200, "valid"),
        ("metadata", PDF, 401, "none"),
    ]
    assert answer["requests"][1]["headers"]["user-agent"] == "mine/1.0"
    assert answer["requests"][1]["bytes_sent"] == client.sim.media[JPEG].size
    assert answer["counts"][JPEG]["completed_downloads"] == 1
    one = client.control("GET", f"requests?media_id={PDF}").json()
    assert (len(one["requests"]), [*one["counts"]]) == (1, [PDF])
    client.control("DELETE", "requests")
    assert client.control("GET", "requests").json() == {"requests": [], "counts": {}}


def test_a_new_number_joins_the_account(client: Client) -> None:
    body = {"display_phone_number": "+1 555-010-0003", "verified_name": "Third"}
    number = client.control("POST", "phone-numbers", body).json()
    assert client.graph(number["id"]).json()["verified_name"] == "Third"
    assert len(client.graph(f"{client.sim.waba_id}/phone_numbers").json()["data"]) == 3


def test_reset_brings_back_the_start_and_uses_no_id_twice(client: Client) -> None:
    start = client.control("GET", "state").json()
    first = client.control("POST", "media", b"x", Content_Type="image/png").json()["id"]
    client.control("DELETE", f"media/{PDF}")
    client.control("POST", "faults", {"kind": "reset"})
    client.control("PATCH", "settings", {"file_size": "string"})
    client.control("POST", "clock", {"advance": 1000})
    client.graph(JPEG)
    client.control("POST", "reset")
    assert client.control("GET", "state").json() == start
    assert client.control("GET", "requests").json() == {"requests": [], "counts": {}}
    assert client.control("POST", "media", b"x", Content_Type="image/png").json()["id"] != first


@pytest.mark.parametrize(("method", "path"), [("GET", "nothing"), ("PUT", "state"), ("GET", "reset"), ("GET", "")])
def test_unknown_control_requests_are_404_in_json(client: Client, method: str, path: str) -> None:
    reply = client.control(method, path)
    assert reply.status == 404
    assert "no " + method in reply.json()["error"]


def test_what_meta_says_of_a_number_can_be_changed(client: Client) -> None:
    number = client.sim.phone_numbers[0].id
    changed = client.control("PATCH", f"phone-numbers/{number}", {"status": "FLAGGED", "quality_rating": "RED"})
    assert (changed.status, changed.json()["status"]) == (200, "FLAGGED")
    found = client.graph(f"{number}?fields=status,quality_rating").json()
    assert found == {"status": "FLAGGED", "quality_rating": "RED", "id": number}
    for bad in ({"colour": "red"}, {"status": 1}, {"id": "5"}):
        assert client.control("PATCH", f"phone-numbers/{number}", bad).status == 400
    assert client.control("PATCH", "phone-numbers/999", {"status": "FLAGGED"}).status == 404

"""Each scripted fault, seen from the client's end of a real connection."""

import hashlib
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected

import pytest

from harness.simulator_client import JPEG, MISSING, PDF, Client, read_until_end, read_until_reset, running
from harness.waiting import PATIENCE, eventually
from whaul.simulator import BadFaultError
from whaul.simulator.faults import KINDS

DOCUMENT = "docs/simulator.md"


@pytest.fixture
def client() -> Iterator[Client]:
    with running() as client:
        yield client


# --- answers in the place of the usual one


def test_an_error_has_the_status_of_metas_table_unless_another_is_given(client: Client) -> None:
    client.sim.fault(JPEG, kind="error", code=131016, times=1)
    client.sim.fault(JPEG, kind="error", code=131016, status=503, times=1)
    client.sim.fault(JPEG, kind="error", code=205, times=1)
    replies = [client.graph(JPEG) for _ in range(4)]
    assert [reply.status for reply in replies] == [500, 503, 403, 200]
    assert [reply.error["code"] for reply in replies[:3]] == [131016, 131016, 205]


def test_an_error_carries_every_member_that_was_asked_for(client: Client) -> None:
    client.sim.fault(
        JPEG,
        kind="error",
        code=4,
        status=429,
        subcode=2446079,
        is_transient=True,
        message='Slow "down"\r\nplease',
        title="Too fast",
        user_message="Wait a little.",
        details="of the call",
        headers={"X-Extra": "1"},
        retry_after=9,
        regain_minutes=11,
    )
    reply = client.graph(JPEG)
    error = reply.error
    assert error.pop("fbtrace_id")
    assert (reply.status, error) == (
        429,
        {
            "message": 'Slow "down"\r\nplease',
            "type": "OAuthException",
            "code": 4,
            "error_subcode": 2446079,
            "is_transient": True,
            "error_user_title": "Too fast",
            "error_user_msg": "Wait a little.",
            "error_data": {"messaging_product": "whatsapp", "details": "of the call"},
        },
    )
    assert (reply.headers["x-extra"], reply.headers["retry-after"]) == ("1", "9")
    usage = json.loads(reply.headers["x-business-use-case-usage"])[client.sim.waba_id][0]
    assert (usage["call_count"], usage["estimated_time_to_regain_access"]) == (100, 11)
    assert reply.headers["www-authenticate"].endswith("\"Slow 'down'''please\"")


def test_a_rate_limit_throttles_what_is_beyond_its_calls_until_time_has_passed(client: Client) -> None:
    client.sim.fault(kind="rate_limit", code=80007, calls=2, per=60, retry_after=30)
    replies = [client.graph(JPEG) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 400]
    assert (replies[2].error["code"], replies[2].headers["retry-after"]) == (80007, "30")
    assert client.graph(MISSING).error["code"] == 80007
    client.clock.now += 60
    assert client.graph(JPEG).status == 200


def test_a_rate_limit_without_a_number_throttles_every_call(client: Client) -> None:
    client.sim.fault(JPEG, kind="rate_limit")
    assert client.graph(JPEG).error["code"] == 4
    assert client.graph(PDF).status == 200


def test_a_bare_status_has_no_graph_error(client: Client) -> None:
    client.sim.fault(JPEG, kind="status", status=503, body="busy", retry_after=2)
    reply = client.graph(JPEG)
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (503, b"busy", "2")
    client.sim.clear_faults()
    client.sim.fault(JPEG, kind="status", status=304)
    assert client.graph(JPEG).body == b""


def status_after(client: Client, seconds: float) -> int:
    """Ask for a file whose answer comes late, and let so much time pass."""
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(client.graph, JPEG)
        eventually(lambda: client.sim.count(JPEG)["metadata"] == 1)
        client.sim.advance(seconds - 1)
        client.graph(PDF)  # the simulator has been round since
        assert not asked.done()
        client.sim.advance(1)
        return asked.result().status


def test_latency_delays_the_usual_answer(client: Client) -> None:
    client.sim.fault(JPEG, kind="latency", seconds=3600)
    assert status_after(client, 3600) == 200


def test_every_fault_can_be_delayed(client: Client) -> None:
    client.sim.fault(JPEG, kind="status", status=500, delay=3600)
    assert status_after(client, 3600) == 500


def test_a_wait_ends_by_itself(client: Client) -> None:
    client.sim.fault(JPEG, kind="latency", seconds=0.01)
    assert client.graph(JPEG).status == 200


def test_an_expired_url_is_404_while_the_id_still_resolves(client: Client) -> None:
    client.sim.fault(JPEG, kind="expired_url", times=1)
    assert client.download(client.url()).status == 404
    assert client.download(client.url()).status == 200


def test_a_page_for_people_comes_with_status_200(client: Client) -> None:
    url = client.url()
    client.sim.fault(JPEG, kind="html")
    reply = client.download(url)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert b"<html>" in reply.body


def test_a_redirect_goes_where_it_was_told(client: Client) -> None:
    url = client.url()
    client.sim.fault(JPEG, kind="redirect", location="http://127.0.0.1:1/x", status=307)
    reply = client.download(url)
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/x")


# --- metadata that lies


def test_a_wrong_hash_is_a_hash_of_the_same_form(client: Client) -> None:
    right = client.graph(JPEG).json()["sha256"]
    client.sim.fault(JPEG, kind="wrong_hash")
    wrong = client.graph(JPEG).json()["sha256"]
    assert wrong != right
    assert re.fullmatch(r"[0-9a-f]{64}", wrong)


def test_a_wrong_size_keeps_its_json_type(client: Client) -> None:
    size = client.sim.media[JPEG].size
    client.sim.fault(JPEG, kind="wrong_size", by=-5)
    assert client.graph(JPEG).json()["file_size"] == size - 5
    client.sim.configure(file_size="string")
    assert client.graph(JPEG).json()["file_size"] == str(size - 5)


def test_what_is_not_json_says_that_it_is(client: Client) -> None:
    client.sim.fault(JPEG, kind="not_json")
    reply = client.graph(JPEG)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json; charset=UTF-8")
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_wrong_json_lacks_members_has_others_or_is_another_document(client: Client) -> None:
    client.sim.fault(JPEG, kind="wrong_json", times=1)
    client.sim.fault(JPEG, kind="wrong_json", set={"url": "http://10.0.0.1/", "id": 7}, drop=["sha256"], times=1)
    client.sim.fault(JPEG, kind="wrong_json", body=[1, None], times=1)
    plain, edited, other = (client.graph(JPEG).json() for _ in range(3))
    assert "url" not in plain
    assert isinstance(plain["file_size"], list)
    assert (edited["url"], edited["id"]) == ("http://10.0.0.1/", 7)
    assert "sha256" not in edited
    assert other == [1, None]


def test_metadata_faults_reach_accounts_and_numbers_too(client: Client) -> None:
    client.sim.fault(client.sim.waba_id, kind="error", code=190, subcode=463, times=1)
    client.sim.fault(client.sim.waba_id, kind="wrong_json", body={}, times=1)
    client.sim.fault(client.sim.phone_numbers[0].id, kind="wrong_json", drop=["verified_name"])
    assert client.graph(client.sim.waba_id).error["error_subcode"] == 463
    assert client.graph(f"{client.sim.waba_id}/phone_numbers").json() == {}
    assert "verified_name" not in client.graph(client.sim.phone_numbers[0].id).json()


# --- bodies that lie


def test_a_truncated_body_ends_in_good_order_before_its_length(client: Client) -> None:
    url, size = client.url(), client.sim.media[JPEG].size
    client.sim.fault(JPEG, kind="truncate", at=1000, times=1)
    client.sim.fault(JPEG, kind="truncate", times=1)
    client.sim.fault(JPEG, kind="truncate", at=10**9, times=1)
    lengths = []
    for _ in range(3):
        with pytest.raises(IncompleteRead) as caught:
            client.download(url)
        assert client.sim.media[JPEG].read().startswith(caught.value.partial)
        lengths.append(len(caught.value.partial))
    assert lengths == [1000, size // 2, size - 1]
    assert client.over("truncate").outcome == "broken"


def test_truncated_metadata_is_cut_in_the_same_way(client: Client) -> None:
    client.sim.fault(JPEG, kind="truncate", hop="metadata", at=20)
    with pytest.raises(IncompleteRead):
        client.graph(JPEG)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_a_longer_body_has_more_bytes_than_the_metadata_says(client: Client, framing: str) -> None:
    url, data = client.url(), client.sim.media[JPEG].read()
    client.sim.fault(JPEG, kind="longer", extra=300_000, framing=framing)
    reply = client.download(url)
    assert len(reply.body) == len(data) + 300_000
    assert reply.body.startswith(data)
    assert ("content-length" in reply.headers) == (framing == "length")
    assert (reply.headers.get("transfer-encoding") == "chunked") == (framing == "chunked")


def test_a_client_of_http_1_0_gets_a_longer_body_without_chunks(client: Client) -> None:
    parts = client.url().removeprefix(client.sim.url)
    client.sim.fault(JPEG, kind="longer")
    with socket.create_connection(("127.0.0.1", client.sim.port), timeout=PATIENCE) as connection:
        connection.sendall(f"GET {parts} HTTP/1.0\r\nAuthorization: Bearer {client.sim.token}\r\n\r\n".encode())
        head, _, body = read_until_end(connection).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert len(body) == client.sim.media[JPEG].size + 1024


@pytest.mark.parametrize("at", [0, 5000, 10**9])
def test_a_corrupt_body_differs_in_one_byte(client: Client, at: int) -> None:
    url, data = client.url(), client.sim.media[JPEG].read()
    client.sim.fault(JPEG, kind="corrupt", at=at)
    body = client.download(url).body
    assert len(body) == len(data)
    wrong = [place for place, (a, b) in enumerate(zip(body, data, strict=True)) if a != b]
    assert wrong == [min(at, len(data) - 1)]


def test_a_corrupt_byte_is_found_beyond_the_first_block(client: Client) -> None:
    media_id = client.sim.add_generated(700_000)
    url, data = client.url(media_id), client.sim.media[media_id].read()
    client.sim.fault(media_id, kind="corrupt", at=600_000)
    body = client.download(url).body
    assert (body[:600_000], body[600_001:]) == (data[:600_000], data[600_001:])
    assert body[600_000] != data[600_000]


# --- connections that break


@pytest.mark.parametrize("hop", ["metadata", "download"])
def test_a_reset_before_the_answer_is_a_reset_and_not_an_end(client: Client, hop: str) -> None:
    url = client.url()
    client.sim.fault(JPEG, kind="reset", hop=hop)
    with pytest.raises(ConnectionResetError) as caught:
        client.graph(JPEG) if hop == "metadata" else client.download(url)
    assert not isinstance(caught.value, RemoteDisconnected)
    exchange = client.over("reset")
    assert (exchange.status, exchange.bytes_sent, exchange.outcome) == (None, 0, "broken")


@pytest.mark.parametrize("at", [0, 1, 50_000, 3_000_000])
def test_a_reset_in_the_body_comes_after_exactly_its_bytes(client: Client, at: int) -> None:
    media_id = client.sim.add_generated(4_000_000)
    url = client.url(media_id)
    client.sim.fault(media_id, kind="reset", at=at)
    with client.raw(url) as connection:
        received = read_until_reset(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Content-Length: 4000000" in head
    assert len(body) == at


def test_a_reset_during_an_upload_needs_no_body(client: Client) -> None:
    number = client.sim.phone_numbers[0].id
    client.sim.fault(number, kind="reset", hop="upload")
    connection = HTTPConnection("127.0.0.1", client.sim.port, timeout=PATIENCE)
    try:
        connection.putrequest("POST", f"/v25.0/{number}/media")
        connection.putheader("Authorization", f"Bearer {client.sim.token}")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        with pytest.raises(ConnectionResetError):
            connection.getresponse()
    finally:
        connection.close()


@pytest.mark.parametrize(("at", "expected"), [(None, b""), (0, b"head"), (5000, b"head and body")])
def test_a_stall_is_silent_until_the_client_leaves(client: Client, at: int | None, expected: bytes) -> None:
    url = client.url()
    client.sim.fault(JPEG, kind="stall", at=at)
    with client.raw(url) as connection:
        received = b""
        if expected:
            while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < (at or 0):
                received += connection.recv(65536)
            assert len(received.partition(b"\r\n\r\n")[2]) == at
        client.sim.advance(3600)
        client.graph(PDF)  # the simulator has been round since
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
    exchange = client.over("stall")
    assert exchange.outcome == "broken"
    assert exchange.bytes_sent == (at or 0)


def test_a_stalled_upload_ends_when_its_client_leaves(client: Client) -> None:
    number = client.sim.phone_numbers[0].id
    client.sim.fault(number, kind="stall", hop="upload")
    with socket.create_connection(("127.0.0.1", client.sim.port), timeout=PATIENCE) as connection:
        head = f"POST /v25.0/{number}/media HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.sim.token}\r\n"
        connection.sendall(f"{head}Content-Length: 9000000\r\n\r\n".encode() + bytes(5_000_000))
    assert client.over("stall").outcome == "broken"


def test_a_drip_keeps_to_its_speed(client: Client) -> None:
    media_id = client.sim.add_generated(3000)
    url = client.url(media_id)
    client.sim.fault(media_id, kind="drip", bytes_per_second=20)
    with ThreadPoolExecutor(1) as beside:
        download = beside.submit(client.download, url)
        eventually(lambda: client.sim.count(media_id)["download"] == 1)
        client.sim.advance(140)
        client.graph(PDF)
        assert not download.done()
        client.sim.advance(60)
        body = download.result().body
    assert hashlib.sha256(body).digest() == client.sim.media[media_id].sha256()


# --- whose turn it is


def test_faults_queue_in_the_order_they_were_given_then_everything_is_well_again(client: Client) -> None:
    client.sim.fault(JPEG, kind="status", status=500, times=2)
    client.sim.fault(JPEG, kind="status", status=502, times=1)
    assert [client.graph(JPEG).status for _ in range(4)] == [500, 500, 502, 200]


def test_the_faults_of_an_id_come_before_those_of_all(client: Client) -> None:
    client.sim.fault("*", kind="status", status=500)
    client.sim.fault(JPEG, kind="status", status=502, times=1)
    assert [client.graph(JPEG).status for _ in range(2)] == [502, 500]
    assert client.graph(PDF).status == 500


def test_a_fault_stays_at_its_hop(client: Client) -> None:
    url = client.url()
    client.sim.fault(JPEG, kind="status", status=500, hop="download")
    assert client.graph(JPEG).status == 200
    assert client.download(url).status == 500
    assert client.graph(JPEG, "DELETE").status == 200


def test_a_call_that_is_not_admitted_uses_up_no_fault(client: Client) -> None:
    client.sim.fault(JPEG, kind="status", status=500, times=1)
    assert client.graph(JPEG, token="wrong").status == 401
    assert client.graph(JPEG).status == 500


def test_without_times_a_fault_stays_until_it_is_cleared(client: Client) -> None:
    client.sim.fault(JPEG, kind="status", status=500)
    client.sim.fault(PDF, kind="status", status=500)
    assert [client.graph(JPEG).status for _ in range(5)] == [500] * 5
    client.sim.clear_faults(JPEG)
    assert (client.graph(JPEG).status, client.graph(PDF).status) == (200, 500)
    client.sim.clear_faults()
    assert client.graph(PDF).status == 200


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"kind": "resett"}, "known `kind`"),
        ({"kind": "reset", "at": -1}, "at"),
        ({"kind": "reset", "when": 1}, "when"),
        ({"kind": "reset", "at": "half"}, "at"),
        ({"kind": "error"}, "code"),
        ({"kind": "error", "code": "4"}, "code"),
        ({"kind": "error", "code": 4, "status": 200}, "status"),
        ({"kind": "error", "code": 4, "headers": {"X\r\nY": "1"}}, "headers"),
        ({"kind": "error", "code": 4, "headers": {"X": "1\r\nY: 2"}}, "headers"),
        ({"kind": "error", "code": 4, "headers": {"X": "1\n"}}, "headers"),
        ({"kind": "error", "code": 4, "headers": {"Content-Length": "9"}}, "content-length"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "redirect"}, "location"),
        ({"kind": "redirect", "location": "/\r\nSet-Cookie: a"}, "location"),
        ({"kind": "redirect", "location": "/", "status": 300}, "status"),
        ({"kind": "wrong_size", "by": 0}, "by"),
        ({"kind": "wrong_hash", "hop": "download"}, "hop"),
        ({"kind": "longer", "hop": "metadata"}, "hop"),
        ({"kind": "longer", "framing": "none"}, "framing"),
        ({"kind": "drip"}, "bytes_per_second"),
        ({"kind": "drip", "bytes_per_second": 0}, "bytes_per_second"),
        ({"kind": "latency", "seconds": -1}, "seconds"),
        ({"kind": "stall", "times": 0}, "times"),
        ({"kind": "stall", "hop": "upstairs"}, "hop"),
        ({"kind": "stall", "media_id": ""}, "media_id"),
    ],
)
def test_a_bad_fault_is_refused_with_what_is_wrong_and_what_is_allowed(
    client: Client, raw: dict[str, object], says: str
) -> None:
    with pytest.raises(BadFaultError, match=says) as caught:
        client.sim.fault(**raw)
    assert caught.value.allowed
    reply = client.control("POST", "faults", raw)
    assert reply.status == 400
    assert says in reply.json()["error"]
    assert reply.json()["allowed"]
    assert client.control("GET", "faults").json() == {"faults": []}


def test_every_kind_of_fault_is_documented(request: pytest.FixtureRequest) -> None:
    page = (request.config.rootpath / DOCUMENT).read_text()
    for name, kind in KINDS.items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, f"{name} has no row in {DOCUMENT}"
        assert f"| {kind.hops[0]} |" in row
        own = set(kind.__struct_fields__) - {"media_id", "hop", "times", "delay"}
        assert [member for member in own if f"`{member}" not in row] == []

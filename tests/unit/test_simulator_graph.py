"""The Graph API hop and the download hop as they behave when nothing is wrong, and how they refuse."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from typing import get_args
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from harness.receiver import receiving
from harness.simulator_client import JPEG, MISSING, PDF, VOICE, Client, running
from whaul.simulator.flow_calls import ASSET_LIFETIME
from whaul.simulator.flows import Alert
from whaul.simulator.model import PublicKey
from whaul.simulator.objects import ROWS

NUMBER, OTHER_NUMBER = "500000000000001", "500000000000002"
TRAP = "Param phone_number_id is not a valid whatsapp business phone number id ID"


@pytest.fixture
def client() -> Iterator[Client]:
    with running() as client:
        yield client


@pytest.fixture
def proving() -> Iterator[Client]:
    with running(app_secret="made-up-secret") as client:
        yield client


def multipart(data: bytes, mime_type: str, **fields: str) -> dict[str, object]:
    parts = [f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\nContent-Type: {mime_type}\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + data + b"\r\n--B--\r\n"
    return {"method": "POST", "body": body, "Content_Type": "multipart/form-data; boundary=B"}


def upload(client: Client, data: bytes, mime_type: str = "image/jpeg", **fields: str):
    fields = {"messaging_product": "whatsapp", **fields}
    return client.graph(f"{NUMBER}/media", **multipart(data, mime_type, **fields))


def proof(message: str, key: str = "made-up-secret") -> str:
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


# --- metadata


def test_metadata_has_the_six_members_of_meta_and_they_describe_the_file(client: Client) -> None:
    members = client.graph(JPEG).json()
    data = client.sim.media[JPEG].read()
    assert members.pop("url").startswith(client.sim.url + "/whatsapp_business/attachments/?mid=")
    assert members == {
        "messaging_product": "whatsapp",
        "mime_type": "image/jpeg",
        "sha256": hashlib.sha256(data).hexdigest(),
        "file_size": len(data),
        "id": JPEG,
    }


def test_the_default_media_are_real_files_of_their_types(client: Client) -> None:
    starts = {JPEG: b"\xff\xd8\xff", VOICE: b"OggS", PDF: b"%PDF-1."}
    for media_id, start in starts.items():
        body = client.download(client.url(media_id)).body
        assert body.startswith(start)
        assert hashlib.sha256(body).hexdigest() == client.graph(media_id).json()["sha256"]
    assert b"OpusHead" in client.sim.media[VOICE].read()


def test_slashes_are_escaped_as_graph_escapes_them(client: Client) -> None:
    assert b'"image\\/jpeg"' in client.graph(JPEG).body


def test_file_size_and_sha256_take_the_other_documented_forms(client: Client) -> None:
    client.sim.configure(file_size="string", sha256="base64")
    members = client.graph(PDF).json()
    data = client.sim.media[PDF].read()
    assert members["file_size"] == str(len(data))
    assert base64.b64decode(members["sha256"]) == hashlib.sha256(data).digest()


def test_the_options_of_one_media_outrank_the_settings(client: Client) -> None:
    media_id = client.sim.add_media(b"x", "image/png", file_size="string", content_type="text/plain")
    assert client.graph(media_id).json()["file_size"] == "1"
    assert client.graph(JPEG).json()["file_size"] > 1
    assert client.download(client.url(media_id)).headers["content-type"] == "text/plain"


def test_the_token_is_also_taken_from_the_query(client: Client) -> None:
    assert client.graph(f"{JPEG}?access_token={client.sim.token}", token=None).status == 200


@pytest.mark.parametrize(
    ("token", "code", "kind"), [(None, 104, "invalid_request"), ("wrong", 190, "invalid_token"), ("é", 190, "invalid")]
)
def test_a_call_without_the_right_token_is_401_with_graphs_header(
    client: Client, token: str | None, code: int, kind: str
) -> None:
    reply = client.graph(JPEG, token=token)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (401, code, "OAuthException")
    assert reply.headers["www-authenticate"].startswith(f'OAuth "Facebook Platform" "{kind}')


def test_basic_authorization_is_no_token(client: Client) -> None:
    assert client.graph(JPEG, token=None, Authorization=f"Basic {client.sim.token}").error["code"] == 104


def test_an_id_that_never_existed_is_400_code_100_subcode_33(client: Client) -> None:
    reply = client.graph(MISSING)
    assert reply.status == 400
    assert (reply.error["code"], reply.error["error_subcode"]) == (100, 33)
    assert reply.error["type"] == "GraphMethodException"
    assert MISSING in reply.error["message"]


def test_every_error_has_a_trace_id_of_its_own(client: Client) -> None:
    assert len({client.graph(MISSING).error["fbtrace_id"] for _ in range(20)}) == 20


@pytest.mark.parametrize("number", [NUMBER, OTHER_NUMBER, "1"])
def test_phone_number_id_on_a_media_from_a_customer_springs_the_trap(client: Client, number: str) -> None:
    reply = client.graph(f"{JPEG}?phone_number_id={number}")
    assert (reply.status, reply.error["code"], reply.error["message"]) == (400, 100, TRAP)
    assert "error_subcode" not in reply.error


def test_media_of_a_customer_is_kept_seven_days(client: Client) -> None:
    media_id = client.sim.add_media(b"x", "image/png")
    client.sim.advance(7 * 86400 - 1)
    assert client.graph(media_id).status == 200
    client.sim.advance(1)
    assert client.graph(media_id).error["error_subcode"] == 33


def test_the_default_media_do_not_age(client: Client) -> None:
    client.sim.advance(400 * 86400)
    assert client.download(client.url(JPEG)).status == 200


def test_an_unknown_field_is_refused_and_known_ones_are_picked(client: Client) -> None:
    assert client.graph(f"{JPEG}?fields=mime_type").json() == {"mime_type": "image/jpeg", "id": JPEG}
    assert client.graph(f"{JPEG}?fields=colour").error["code"] == 100


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [("POST", JPEG, 100), ("GET", f"{JPEG}/comments", 2500), ("GET", f"{MISSING}/phone_numbers", 100)],
)
def test_calls_that_graph_does_not_know_are_graph_errors(client: Client, method: str, target: str, code: int) -> None:
    reply = client.graph(target, method)
    assert (reply.status, reply.error["code"]) == (400, code)


@pytest.mark.parametrize("path", ["/", f"/{JPEG}", f"/25.0/{JPEG}", "/elsewhere/deep/down"])
def test_other_paths_are_404_and_are_noted_with_the_token_that_came(client: Client, path: str) -> None:
    assert client.send("GET", path, token=client.sim.token).status == 404
    assert client.sim.requests[-1].path == path
    assert client.sim.requests[-1].token == "valid"


def test_usage_headers_carry_the_percentages_of_the_settings(client: Client) -> None:
    client.sim.configure(call_count=93, total_time=12, estimated_time_to_regain_access=7)
    headers = client.graph(JPEG).headers
    assert json.loads(headers["x-app-usage"]) == {"call_count": 93, "total_cputime": 0, "total_time": 12}
    business = json.loads(headers["x-business-use-case-usage"])[client.sim.waba_id][0]
    assert (business["type"], business["call_count"]) == ("whatsapp", 93)
    assert business["estimated_time_to_regain_access"] == 7
    client.sim.configure(usage_headers=False)
    assert "x-app-usage" not in client.graph(JPEG).headers


# --- download


def test_a_download_url_has_the_shape_of_metas_and_lives_five_minutes(client: Client) -> None:
    url = client.url()
    query = parse_qs(urlsplit(url).query)
    assert sorted(query) == ["ext", "hash", "mid"]
    assert int(query["ext"][0]) == client.clock.now + 300
    client.clock.now += 299
    assert client.download(url).status == 200
    client.clock.now += 1
    assert client.download(url).status == 404
    assert client.download(client.url()).status == 200


@pytest.mark.parametrize("member", ["mid", "ext", "hash"])
def test_a_changed_download_url_is_404(client: Client, member: str) -> None:
    parts = urlsplit(client.url())
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query[member] = {"mid": PDF, "ext": str(int(query["ext"]) + 1), "hash": query["hash"][:-1]}[member]
    changed = "&".join(f"{name}={value}" for name, value in query.items())
    assert client.download(f"{parts.path}?{changed}").status == 404
    assert client.download(f"{parts.path}?mid={JPEG}&ext=soon&hash=x").status == 404
    assert client.download(parts.path).status == 404


@pytest.mark.parametrize(("token", "code"), [(None, 104), ("wrong", 190)])
def test_a_download_needs_the_token_in_the_header(client: Client, token: str | None, code: int) -> None:
    url = client.url()
    reply = client.download(url, token=token)
    assert (reply.status, reply.error["code"]) == (401, code)
    assert client.download(f"{url}&access_token={client.sim.token}", token=None).status == 401


def test_a_download_ignores_range(client: Client) -> None:
    reply = client.download(client.url(), Range="bytes=0-9")
    assert (reply.status, len(reply.body)) == (200, client.sim.media[JPEG].size)


def test_the_content_type_of_a_download_follows_the_setting(client: Client) -> None:
    url = client.url(VOICE)
    assert client.download(url).headers["content-type"] == "audio/ogg; codecs=opus"
    client.sim.configure(content_type="application/octet-stream")
    assert client.download(url).headers["content-type"] == "application/octet-stream"


def test_a_missing_user_agent_is_refused_only_when_the_setting_says_so(client: Client) -> None:
    url = client.url()
    assert client.download(url).status == 200
    client.sim.configure(user_agent="required-500")
    assert client.download(url).status == 500
    assert client.download(url, User_Agent="mine/1.0").status == 200
    client.sim.configure(user_agent="required-redirect")
    reply = client.download(url)
    assert (reply.status, reply.headers["location"]) == (302, "/unsupportedbrowser")
    assert client.send("GET", "/unsupportedbrowser").headers["content-type"].startswith("text/html")


def test_download_urls_can_point_at_another_host(client: Client) -> None:
    client.sim.configure(media_base_url="http://169.254.169.254")
    assert client.url().startswith("http://169.254.169.254/whatsapp_business/attachments/?")


def test_expired_urls_of_one_media_leave_its_id_and_other_media_alone(client: Client) -> None:
    url, other = client.url(JPEG), client.url(PDF)
    client.sim.expire_urls(JPEG)
    assert client.download(url).status == 404
    assert client.download(other).status == 200
    assert client.download(client.url(JPEG)).status == 200


# --- deletion and upload


def test_a_deleted_media_answers_like_one_that_never_existed(client: Client) -> None:
    url = client.url(PDF)
    assert client.graph(PDF, "DELETE").json() == {"success": True}
    assert client.graph(PDF).error["error_subcode"] == 33
    assert client.graph(PDF, "DELETE").error["error_subcode"] == 33
    assert client.download(url).status == 404


def test_an_uploaded_file_comes_back_the_same_and_belongs_to_its_number(client: Client) -> None:
    data = bytes(range(256)) * 3000
    reply = upload(client, data, type="image/jpeg")
    media_id = reply.json()["id"]
    assert media_id.isdecimal()
    assert client.graph(f"{media_id}?phone_number_id={NUMBER}").json()["mime_type"] == "image/jpeg"
    assert client.graph(f"{media_id}?phone_number_id={OTHER_NUMBER}").error["message"] == TRAP
    assert client.download(client.url(media_id)).body == data
    client.sim.advance(30 * 86400)
    assert client.graph(media_id).error["error_subcode"] == 33


def test_an_upload_without_the_type_field_takes_the_type_of_the_part(client: Client) -> None:
    media_id = upload(client, b"OggS", "audio/ogg; codecs=opus").json()["id"]
    assert client.graph(media_id).json()["mime_type"] == "audio/ogg; codecs=opus"


@pytest.mark.parametrize(
    ("mime_type", "limit"),
    [("image/png", 5 * 2**20), ("video/mp4", 16 * 2**20), ("audio/ogg", 16 * 2**20), ("image/webp", 100 * 2**10)],
)
def test_an_upload_over_the_size_of_its_kind_is_131053_and_one_at_it_is_taken(
    client: Client, mime_type: str, limit: int
) -> None:
    reply = upload(client, bytes(limit + 1), mime_type)
    assert (reply.status, reply.error["code"]) == (400, 131053)
    assert str(limit) in reply.error["error_data"]["details"]
    assert upload(client, bytes(limit), mime_type).status == 200


def test_an_animated_sticker_may_be_larger_than_a_still_one(client: Client) -> None:
    animated = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(200 * 1024)
    assert upload(client, animated, "image/webp").status == 200
    assert upload(client, animated + bytes(300 * 1024), "image/webp").error["code"] == 131053


def test_bad_uploads_are_refused_with_code_100(client: Client) -> None:
    refused = [
        upload(client, b"x", "application/x-msdownload"),
        upload(client, b"x", messaging_product="telegram"),
        client.graph(f"{NUMBER}/media", "POST", body=b"{}", Content_Type="application/json"),
        client.graph(f"{NUMBER}/media", "POST", body=b"junk", Content_Type="multipart/form-data; boundary=B"),
        client.graph(f"{NUMBER}/media", "POST", body=b"junk", Content_Type="multipart/form-data"),
        client.graph(f"{MISSING}/media", **multipart(b"x", "image/png", messaging_product="whatsapp")),
    ]
    assert [(reply.status, reply.error["code"]) for reply in refused] == [(400, 100)] * len(refused)
    assert len(client.sim.media) == 3


# --- the account


def test_the_account_has_a_name_and_two_numbers(client: Client) -> None:
    waba = client.sim.waba_id
    assert client.graph(f"{waba}?fields=id,name").json() == {"name": "Whaul Harbour (simulated)", "id": waba}
    page = client.graph(f"{waba}/phone_numbers").json()
    assert [number["id"] for number in page["data"]] == [number.id for number in client.sim.phone_numbers]
    names = {"id", "verified_name", "display_phone_number", "quality_rating"}
    assert all(names <= number.keys() for number in page["data"])
    assert page["paging"].keys() == {"cursors"}
    assert page["paging"]["cursors"].keys() == {"before", "after"}


def test_phone_numbers_come_page_by_page(client: Client) -> None:
    for n in range(3):
        client.sim.add_phone_number(f"+1 555-010-010{n}", f"Branch {n}")
    path, seen, after = f"{client.sim.waba_id}/phone_numbers?limit=2", [], ""
    while True:
        page = client.graph(path + after).json()
        seen.append([number["id"][-1] for number in page["data"]])
        if "next" not in page["paging"]:
            break
        after = f"&after={page['paging']['cursors']['after']}"
    assert seen == [["1", "2"], ["3", "4"], ["5"]]
    back = client.send("GET", page["paging"]["previous"], token=client.sim.token).json()
    assert [number["id"][-1] for number in back["data"]] == ["3", "4"]
    assert client.graph(path + f"&after={page['paging']['cursors']['after']}").json() == {"data": []}


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "after=nonsense", "after=%ff", "fields=iq"])
def test_a_bad_page_is_code_100(client: Client, query: str) -> None:
    reply = client.graph(f"{client.sim.waba_id}/phone_numbers?{query}")
    assert (reply.status, reply.error["code"]) == (400, 100)


def test_one_number_is_read_with_chosen_fields(client: Client) -> None:
    assert client.graph(f"{NUMBER}?fields=display_phone_number,status").json() == {
        "display_phone_number": "+1 555-010-0001",
        "status": "CONNECTED",
        "id": NUMBER,
    }


# --- appsecret_proof


def test_with_an_app_secret_the_proof_is_required_on_graph_and_not_on_the_download(proving: Client) -> None:
    reply = proving.graph(JPEG)
    assert (reply.status, reply.error["code"]) == (400, 100)
    assert reply.error["message"] == "API calls from the server require an appsecret_proof argument"
    reply = proving.graph(f"{JPEG}?appsecret_proof={proof(proving.sim.token)}")
    assert reply.status == 200
    assert proving.download(reply.json()["url"]).status == 200


def test_the_proof_with_a_time_is_good_for_five_minutes(proving: Client) -> None:
    moment = int(proving.clock.now)
    query = f"appsecret_time={moment}&appsecret_proof={proof(f'{proving.sim.token}|{moment}')}"
    assert proving.graph(f"{JPEG}?{query}").status == 200
    proving.clock.now += 301
    assert proving.graph(f"{JPEG}?{query}").error["code"] == 100


@pytest.mark.parametrize(
    "query",
    [
        "appsecret_proof=00",
        "appsecret_proof=" + proof("simulated-token", "another-secret"),
        "appsecret_proof=" + proof("simulated-token") + "&appsecret_time=1800000000",
        "appsecret_proof=" + proof("simulated-token|now") + "&appsecret_time=now",
        "appsecret_proof=%C3%A9",
    ],
)
def test_a_wrong_proof_is_code_100(proving: Client, query: str) -> None:
    reply = proving.graph(f"{JPEG}?{query}")
    assert (reply.status, reply.error["code"]) == (400, 100)


# --- what is kept of a request


def test_requests_are_noted_without_the_secrets_in_them(proving: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token, signed = proving.sim.token, proof(proving.sim.token)
    url = proving.graph(f"{JPEG}?access_token={token}&appsecret_proof={signed}", User_Agent="mine/1.0").json()["url"]
    proving.download(url)
    proving.download(url, token="wrong-one")
    kept = json.dumps([exchange.describe() for exchange in proving.sim.requests])
    signature = parse_qs(urlsplit(url).query)["hash"][0]
    for secret in (token, signed, signature, "wrong-one"):
        assert secret not in kept
        assert secret not in caplog.text
    assert [exchange.token for exchange in proving.sim.requests] == ["valid", "valid", "invalid"]
    assert proving.sim.requests[0].user_agent == "mine/1.0"


def test_requests_are_counted_per_media(client: Client) -> None:
    url = client.url(JPEG)
    client.download(url)
    client.download(url, token=None)
    client.graph(MISSING)
    assert client.sim.count(JPEG) == {
        "metadata": 1,
        "download": 2,
        "completed_downloads": 1,
        "upload": 0,
        "delete": 0,
        "register": 0,
        "send": 0,
        "settings": 0,
    }
    assert client.sim.count(MISSING)["metadata"] == 1
    assert client.sim.count(PDF)["metadata"] == 0
    complete = client.sim.requests[1]
    assert (complete.status, complete.bytes_sent, complete.outcome) == (200, client.sim.media[JPEG].size, "complete")


# --- linking an account


def test_a_token_is_described_with_the_account_it_may_manage(client: Client) -> None:
    data = client.graph(f"debug_token?input_token={client.sim.token}").json()["data"]
    assert data["is_valid"]
    targets = {scope["scope"]: scope["target_ids"] for scope in data["granular_scopes"]}
    assert targets["whatsapp_business_management"] == [client.sim.waba_id]
    assert not client.graph("debug_token?input_token=other").json()["data"]["is_valid"]
    assert client.graph("debug_token").error["code"] == 100
    assert client.sim.token not in repr(client.sim.requests)


def test_a_token_is_described_with_its_ends(client: Client) -> None:
    asked = f"debug_token?input_token={client.sim.token}"
    data = client.graph(asked).json()["data"]
    assert (data["expires_at"], data["data_access_expires_at"]) == (0, 0)
    client.sim.configure(token_expires_at=4_000_000_000, token_data_access_expires_at=3_900_000_000)
    data = client.graph(asked).json()["data"]
    assert (data["expires_at"], data["data_access_expires_at"]) == (4_000_000_000, 3_900_000_000)


def test_an_expired_token_is_refused(client: Client) -> None:
    client.sim.configure(token_expires_at=1)
    refused = client.graph(client.sim.waba_id)
    assert (refused.status, refused.error["code"], refused.error["error_subcode"]) == (401, 190, 463)
    assert client.sim.requests[-1].token == "invalid"
    client.sim.configure(token_expires_at=0)
    assert client.graph(client.sim.waba_id).status == 200


def register(client: Client, number: str = NUMBER, **members: str):
    body = json.dumps({"messaging_product": "whatsapp", "pin": "123456"} | members).encode()
    return client.graph(f"{number}/register", method="POST", body=body)


def test_a_registered_number_is_connected(client: Client) -> None:
    client.sim.change_phone_number(NUMBER, status="PENDING")
    assert client.graph(f"{NUMBER}?fields=status").json()["status"] == "PENDING"
    assert register(client, data_localization_region="CH").json() == {"success": True}
    assert client.graph(f"{NUMBER}?fields=status").json()["status"] == "CONNECTED"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"pin": "654321"}, 133005),
        ({"pin": "12345"}, 100),
        ({"messaging_product": "sms"}, 100),
        ({"data_localization_region": "ch"}, 100),
    ],
)
def test_a_registration_that_meta_would_refuse_is_refused(client: Client, members: dict[str, str], code: int) -> None:
    client.sim.configure(two_factor_pin="123456")
    assert register(client, **members).error["code"] == code


def test_only_numbers_are_registered_and_only_the_account_is_subscribed(client: Client) -> None:
    assert register(client, MISSING).error["code"] == 100
    assert client.graph(f"{client.sim.waba_id}/subscribed_apps", method="POST").json() == {"success": True}
    assert client.graph(f"{NUMBER}/subscribed_apps", method="POST").error["code"] == 100


# --- flows


def test_a_flow_shows_its_members(client: Client) -> None:
    flow = client.control("POST", "flows", {"name": "Survey", "categories": ["SURVEY"], "json_version": "7.3"})
    id_ = flow.json()["id"]
    shown = {"id": id_, "name": "Survey", "status": "DRAFT", "categories": ["SURVEY"], "validation_errors": []}
    assert (flow.status, client.graph(id_).json()) == (201, shown)
    found = client.graph(f"{id_}?fields=json_version,endpoint_uri,preview,whatsapp_business_account").json()
    assert (found["json_version"], found["whatsapp_business_account"]["id"]) == ("7.3", client.sim.waba_id)
    assert found["preview"]["expires_at"] == "2027-02-14T08:00:00+0000"
    assert "endpoint_uri" not in found
    assert client.graph(f"{id_}?fields=colour").error["code"] == 100
    assert client.graph(id_, "DELETE").json() == {"success": True}
    assert client.graph(id_).error["error_subcode"] == 33


@pytest.mark.parametrize("members", [{}, {"name": "x", "status": "LOST"}, {"name": "x", "id": JPEG}])
def test_a_flow_that_cannot_be_is_refused(client: Client, members: dict[str, str]) -> None:
    assert client.control("POST", "flows", members).status == 400
    assert client.control("GET", "state").json()["flows"] == []


def test_a_flow_with_data_is_published_when_its_endpoint_has_all_it_needs(client: Client) -> None:
    sim = client.sim
    content = json.dumps({"version": "7.3", "data_api_version": "3.0", "screens": [{"id": "A"}]})
    new = {"name": "Booking", "categories": '["APPOINTMENT_BOOKING"]', "flow_json": content}
    id_ = client.graph(f"{sim.waba_id}/flows?{urlencode(new)}", "POST").json()["id"]
    changes = {"endpoint_uri": "https://example.com/flow", "application_id": sim.apps[0].id}
    for name, value in changes.items():
        assert client.graph(f"{id_}/publish", "POST").error["code"] == 139002
        assert client.graph(id_, "POST", body=json.dumps({name: value}).encode()).json() == {"success": True}
    assert client.graph(f"{id_}/publish", "POST").error["code"] == 139002
    number = sim.phone_numbers[0].id
    sim.state.public_keys[number] = PublicKey("-----BEGIN PUBLIC KEY-----")
    assert client.graph(f"{id_}/publish", "POST").json() == {"success": True}


def test_links_of_a_flow_end_by_the_clock(client: Client) -> None:
    content = '{"version": "7.3", "screens": [{}]}'
    id_ = client.sim.add_flow("Survey", flow_json=content)
    link = client.graph(f"{id_}/assets").json()["data"][0]["download_url"]
    assert client.send("GET", link).body.decode() == content
    assert client.send("GET", link.replace("hash=", "hash=0")).status == 403
    preview = client.graph(f"{id_}?fields=preview").json()["preview"]
    client.sim.advance(ASSET_LIFETIME)
    assert client.send("GET", link).status == 403
    assert client.graph(f"{id_}?fields=preview").json()["preview"] == preview
    client.sim.advance(30 * 24 * 3600)
    assert client.graph(f"{id_}?fields=preview").json()["preview"] != preview


def test_a_flow_of_a_version_that_is_not_supported_stays_a_draft(client: Client) -> None:
    id_ = client.sim.add_flow("Survey", flow_json='{"version": "2.1", "screens": [{}]}', json_version="2.1")
    assert client.graph(f"{id_}/publish", "POST").error["code"] == 139002
    assert client.sim.state.flows[id_].status == "DRAFT"


def test_meta_warns_of_a_flow(client: Client) -> None:
    with receiving() as receiver:
        client.sim.set_webhook(receiver.url)
        id_ = client.sim.add_flow("Survey", status="PUBLISHED")
        for event in get_args(Alert):
            client.control("POST", f"flows/{id_}/alerts", {"event": event, "alert_state": "DEACTIVATED"})
        told = [post.json()["entry"][0]["changes"][0] for post in receiver.wait(len(get_args(Alert)))]
    assert {(one["field"], one["value"]["flow_id"]) for one in told} == {("flows", id_)}
    assert {one["value"]["event"] for one in told} == set(get_args(Alert))
    assert {one["value"].get("alert_state") for one in told} == {"DEACTIVATED", None}
    assert client.control("POST", f"flows/{id_}/alerts", {"event": "FLOW_LOST"}).status == 400
    assert client.control("POST", "flows/9/alerts", {"event": "ENDPOINT_LATENCY"}).status == 404


def test_what_meta_does_to_a_flow_is_told(client: Client) -> None:
    with receiving() as receiver:
        client.sim.set_webhook(receiver.url)
        id_ = client.sim.add_flow("Survey", status="PUBLISHED")
        assert client.control("PATCH", f"flows/{id_}", {"status": "BLOCKED"}).json()["status"] == "BLOCKED"
        (post,) = receiver.wait(1)
    (change,) = post.json()["entry"][0]["changes"]
    assert (change["field"], change["value"]["flow_id"]) == ("flows", id_)
    assert (change["value"]["old_status"], change["value"]["new_status"]) == ("PUBLISHED", "BLOCKED")
    assert client.control("PATCH", "flows/9", {"status": "BLOCKED"}).status == 404


def test_rows_of_one_method_and_edge_have_one_hop() -> None:
    hops: dict[tuple[str, str], set[str]] = {}
    for row in ROWS:
        hops.setdefault((row.method, row.edge), set()).add(row.hop)
    assert all(len(found) == 1 for found in hops.values())

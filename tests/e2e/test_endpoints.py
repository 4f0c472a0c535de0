"""What is on the wire around the operation: routes, request ids, error forms, connections, request bodies."""

import http.client
import json
import uuid
from contextlib import closing

import pytest

from harness.client import connection_to, exchange, reply, request_bytes
from harness.world import MEDIA_PATH, Gateway, signed
from whaul.simulator import Simulator

PDF = "100000000000003"
MAX_BODY = 256 * 1024


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_operation_by_another_method_is_405(gateway: Gateway, method: str) -> None:
    answer = gateway.send(method, MEDIA_PATH)
    assert (answer.status, answer.code) == (405, "UnknownOperationException")


def test_a_head_of_the_operation_is_405_without_a_body(gateway: Gateway) -> None:
    answer = gateway.send("HEAD", MEDIA_PATH)
    assert (answer.status, answer.body) == (405, b"")
    assert answer.headers["x-amzn-errortype"] == "UnknownOperationException"


@pytest.mark.parametrize(
    "target", ["/", "/v1", "/v1/whatsapp/media/got", "/v2/whatsapp/media/get", "/v1/whatsapp/media/get/more", "/%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(gateway: Gateway, method: str, target: str) -> None:
    answer = gateway.send(method, target, sign_with=gateway.world.key)
    assert (answer.status, answer.code) == (404, "UnknownOperationException")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", MEDIA_PATH, 403),
        ("GET", MEDIA_PATH, 405),
        ("GET", "/nowhere", 404),
        ("GET", "/healthz", 200),
        ("POST", "/healthz", 405),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
    ],
)
def test_every_answer_has_a_request_id_and_a_date(gateway: Gateway, method: str, target: str, status: int) -> None:
    answers = [gateway.send(method, target) for _ in range(2)]
    assert [answer.status for answer in answers] == [status, status]
    ids = {uuid.UUID(answer.headers["x-amzn-requestid"]) for answer in answers}
    assert len(ids) == 2
    assert all(answer.headers["date"].endswith("GMT") for answer in answers)


def test_a_good_answer_is_json_with_the_two_members(gateway: Gateway) -> None:
    answer = gateway.post(gateway.request(PDF))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.json() == {"fileSize": 1308, "mimeType": "application/pdf"}


def test_an_error_reaches_boto3_typed_with_its_request_id(gateway: Gateway) -> None:
    client = gateway.client()
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refusal:
        gateway.get("999999999999999")
    answer = refusal.value.response
    assert answer["Error"]["Code"] == "ResourceNotFoundException"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-errortype"] == "ResourceNotFoundException"
    assert uuid.UUID(answer["ResponseMetadata"]["RequestId"])


@pytest.mark.parametrize("length", [MAX_BODY, MAX_BODY + 1])
def test_a_body_is_read_up_to_the_limit(gateway: Gateway, length: int) -> None:
    request = json.dumps(gateway.request(PDF)).encode()
    answer = gateway.post(request + b" " * (length - len(request)))
    if length <= MAX_BODY:
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")
        assert str(MAX_BODY) in answer.message


def test_a_body_in_chunks_is_read_up_to_the_limit_too(gateway: Gateway) -> None:
    headers = {"Host": "x", "Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    with connection_to(gateway.port) as connection:
        connection.sendall(request_bytes("POST", MEDIA_PATH, headers))
        block = b"1000\r\n" + b" " * 4096 + b"\r\n"
        connection.sendall(block * (MAX_BODY // 4096 + 1) + b"0\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        answer = reply(response)
    assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")


def test_a_client_that_expects_100_continue_is_told_to_go_on(gateway: Gateway) -> None:
    body = json.dumps(gateway.request(PDF)).encode()
    plain = {"Content-Type": "application/json"}
    headers = signed(f"{gateway.url}{MEDIA_PATH}", "POST", body, plain, gateway.world.key)
    headers |= {"Host": f"127.0.0.1:{gateway.port}", "Content-Length": str(len(body)), "Expect": "100-continue"}
    with connection_to(gateway.port) as connection:
        connection.sendall(request_bytes("POST", MEDIA_PATH, headers))
        interim = b""
        while not interim.endswith(b"\r\n\r\n"):
            interim += connection.recv(1)
        assert interim.startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert reply(response).json()["fileSize"] == 1308


def test_a_connection_serves_many_requests_also_after_errors(gateway: Gateway, simulator: Simulator) -> None:
    good = json.dumps(gateway.request(PDF, metadataOnly=True)).encode()
    bad = json.dumps(gateway.request("999999999999999")).encode()
    plain = {"Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)) as connection:
        connection.connect()
        socket = connection.sock
        statuses = []
        for body in (good, bad, b"{", good):
            headers = signed(f"{gateway.url}{MEDIA_PATH}", "POST", body, plain, gateway.world.key)
            statuses.append(exchange(connection, "POST", MEDIA_PATH, body, headers).status)
            statuses.append(exchange(connection, "GET", "/nowhere", b"", {}).status)
        assert connection.sock is socket
    assert statuses == [200, 404, 404, 404, 400, 404, 200, 404]
    assert simulator.count(PDF)["metadata"] == 2

"""Tokens, secret keys and signed URLs: who is told of them, found out by listening at every ear of the gateway.

Forbidden hosts are listeners that write down whatever reaches them. Everything else that the gateway says (its output
at the debug level in both formats, its answers with their headers, its metrics, its messages) is searched.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness.client import Reply
from harness.hostile_gateway import APP_SECRET, BUCKET, JPEG, KEY, STORE_SECRET, TOKEN, Target, attacked
from harness.peer import Peer, answer, listening
from harness.world import World

SIGNATURE = "deadbeefpresignedsignature0123456789"
HEADER = "hostile-header-value"
ROOT_SECRET = "hostile-root-secret-access-key"


@dataclass
class Surroundings:
    """The gateway, and everyone that it could talk to."""

    target: Target
    graph: Peer
    """Stands for Meta's API and for an allowed media host."""
    store: Peer
    """The configured store, which presigned URLs may name too."""
    stranger: Peer
    """A host that is on no list."""
    replies: list[Reply]
    """Every answer of the gateway so far."""

    def call(self, **members: Any) -> Reply:
        return self.keep(self.target.call(self.target.members(**members)))

    def keep(self, reply: Reply) -> Reply:
        self.replies.append(reply)
        return reply

    def quiet(self) -> "Surroundings":
        """Forget what was received so far, and answer as a good Meta and a good store do."""
        self.graph.reset(self._meta)
        self.store.reset(answer(200, b"", b'ETag: "stored"'))
        self.stranger.reset(answer(200, b"abc"))
        return self

    def _meta(self, request: bytes) -> bytes:
        if request.startswith(b"GET /file"):
            return answer(200, b"abc")
        return description(self.graph.url + "/file")


def description(url: str, **members: Any) -> bytes:
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    told = {"url": url, "mime_type": "image/jpeg", "sha256": sha256, "file_size": 3, "id": "1"} | members
    return answer(200, json.dumps(told).encode(), b"Content-Type: application/json")


@pytest.fixture(scope="module", params=["json"])
def surroundings(request: pytest.FixtureRequest, account: World) -> Iterator[Surroundings]:
    with listening() as graph, listening() as store, listening() as stranger:
        settings = {
            "WHAUL_GRAPH_URL": graph.url,
            "WHAUL_MEDIA_HOSTS": graph.host,
            "WHAUL_LOG_FORMAT": request.param,
            "WHAUL_ROOT_ACCESS_KEY_ID": "HOSTILEROOT",
            "WHAUL_ROOT_SECRET_ACCESS_KEY": ROOT_SECRET,
            "WHAUL_DEADLINE": "4",
        }
        with attacked(account, store, **settings) as target:
            yield Surroundings(target, graph, store, stranger, []).quiet()


@pytest.fixture
def around(surroundings: Surroundings) -> Iterator[Surroundings]:
    """With a look, after every test, at everything that was said so far."""
    yield surroundings.quiet()
    check_all_that_was_said(surroundings)


IN_BOTH_FORMATS = pytest.mark.parametrize("surroundings", ["json", "console"], indirect=True)


def secrets_of(around: Surroundings) -> dict[str, str]:
    caller = around.target.key[1]
    found = {
        "the token": TOKEN,
        "the app secret": APP_SECRET,
        "the caller's secret key": caller,
        "the store's secret key": STORE_SECRET,
        "the root key": ROOT_SECRET,
        "the key of the database": (around.target.log.parent / "whaul.db.key").read_text(encoding="ascii").strip(),
        "a presigned signature": SIGNATURE,
        "a presigned header": HEADER,
        "the store's URL": f"{around.store.host}/",
        "a bearer": "Bearer EAA",
        "an Authorization": "Credential=A",
        "a proof": "appsecret_proof",
    }
    return found | {
        f"{name}, quoted": quote(text, safe="") for name, text in found.items() if quote(text, safe="") != text
    }


def check_all_that_was_said(around: Surroundings) -> None:
    texts = {"output": around.target.output()}
    texts |= {f"answer {number}": reply.text for number, reply in enumerate(around.replies)}
    texts["metrics"] = around.target.send("GET", "/metrics").text
    texts["readiness"] = around.target.send("GET", "/readyz").text
    for where, text in texts.items():
        for what, secret in secrets_of(around).items():
            assert secret not in text, f"{what} is in: {where}"
    # Where a file went is told to the caller in headers of the answer, and nowhere else.
    for where, text in texts.items():
        if not where.startswith("answer"):
            assert BUCKET not in text, where
            assert KEY.strip("/") not in text, where
    for reply in around.replies:
        body = reply.body.decode()
        assert BUCKET not in body
        assert KEY.strip("/") not in body


def presigned(around: Surroundings, **headers: str) -> dict[str, Any]:
    url = f"{around.store.url}/{BUCKET}/{KEY}mine?X-Amz-Signature={SIGNATURE}"
    return {"destinationS3File": None, "destinationS3PresignedUrl": {"url": url, "headers": {"x-a": HEADER} | headers}}


@IN_BOTH_FORMATS
def test_a_good_call_sends_each_secret_to_its_own_place_only(around: Surroundings) -> None:
    assert around.call().status == 200
    assert around.call(**presigned(around)).status == 200
    assert around.call(metadataOnly=True).status == 200
    meta, stored = b"".join(around.graph.received), b"".join(around.store.received)
    assert b"Bearer " + TOKEN.encode() in meta
    assert TOKEN.encode() not in stored
    assert SIGNATURE.encode() in stored
    assert b"Credential=AKIAHOSTILESTORE/" in stored
    for secret in (APP_SECRET, STORE_SECRET, around.target.key[1], ROOT_SECRET):
        assert secret.encode() not in meta + stored
    for told in (SIGNATURE, HEADER, BUCKET, KEY, around.target.key[0]):
        assert told.encode() not in meta
    assert around.stranger.connections == 0


ELSEWHERE = [
    "http://{stranger}/", "http://127.1:{port}/", "http://2130706433:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://localhost:{port}/", "http://{graph}@{stranger}/", "http://{stranger}#{graph}", "//{stranger}/",
    "http://{stranger}\\@{graph}/", "https://{stranger}/", "https://{graph}.evil.example/", "file:///etc/hostname",
]  # fmt: skip


def elsewhere(around: Surroundings, form: str) -> str:
    return form.format(stranger=around.stranger.host, port=around.stranger.port, graph=around.graph.host)


@pytest.mark.parametrize("form", ELSEWHERE)
def test_a_description_that_names_another_host_takes_nothing_there(form: str, around: Surroundings) -> None:
    around.graph.answer = description(elsewhere(around, form))
    assert around.call().status == 502
    assert around.stranger.connections == 0
    assert around.store.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("form", ELSEWHERE)
def test_a_redirect_to_another_host_takes_nothing_there(form: str, status: int, around: Surroundings) -> None:
    location = elsewhere(around, form).encode()
    start = description(around.graph.url + "/file")
    around.graph.answer = lambda request: (
        answer(status, b"", b"Location: " + location) if request.startswith(b"GET /file") else start
    )
    assert around.call().status == 502
    assert around.stranger.connections == 0
    assert around.store.connections == 0


def test_a_redirect_of_the_graph_api_takes_nothing_anywhere(around: Surroundings) -> None:
    around.graph.answer = by_media_id(
        answer(302, b"", b"Location: " + elsewhere(around, form).encode()) for form in ELSEWHERE
    )
    for reply in at_once(around, ({"mediaId": str(number)} for number in range(len(ELSEWHERE)))):
        assert reply.status >= 400
    assert around.stranger.connections == 0


@pytest.mark.parametrize("form", ELSEWHERE)
def test_a_presigned_url_of_another_host_takes_nothing_there(form: str, around: Surroundings) -> None:
    url = elsewhere(around, form) + f"?X-Amz-Signature={SIGNATURE}"
    reply = around.call(destinationS3File=None, destinationS3PresignedUrl={"url": url, "headers": {"x-a": HEADER}})
    assert reply.status == 400
    assert (around.stranger.connections, around.graph.connections) == (0, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_store_takes_nothing_there(status: int, around: Surroundings) -> None:
    around.store.answer = answer(status, b"", b"Location: " + around.stranger.url.encode())
    assert around.call().status == 502
    assert around.call(**presigned(around)).status == 502
    assert around.stranger.connections == 0


def echoes(around: Surroundings) -> list[bytes]:
    """Answers that repeat what they were asked with, as error pages do."""
    told = f"{TOKEN} {APP_SECRET} {SIGNATURE} {HEADER} {STORE_SECRET} {BUCKET}/{KEY}"
    error = {"message": told, "type": told, "code": 131016, "error_subcode": told, "fbtrace_id": told}
    return [
        answer(500, told.encode()),
        answer(400, json.dumps({"error": error}).encode()),
        answer(401, json.dumps({"error": error | {"code": 190, "error_user_msg": told}}).encode()),
        answer(403, f"<Error><Code>AccessDenied</Code><Message>{told}</Message></Error>".encode()),
        answer(403, f"<Error><Code>{told}</Code></Error>".encode()),
        answer(200, told.encode()),
        description(f"{around.stranger.url}/{told}".replace(" ", "/"), mime_type=told),
        b"HTTP/1.1 200 " + told.encode() + b"\r\n" + told.encode() + b"\r\n\r\n",
        told.encode(),
        b"",
    ]


def by_media_id(answers: Iterable[bytes]) -> Callable[[bytes], bytes]:
    """Answer a question for a media id with the answer of that number."""
    numbered = list(answers)
    return lambda request: numbered[int(re.findall(rb"^\S+ \S*?/(\d+)[.? ]", request)[0])]


def at_once(around: Surroundings, calls: Iterable[dict[str, Any]]) -> list[Reply]:
    """Make calls all at once, since some of them go on until their deadline."""
    with ThreadPoolExecutor(32) as threads:
        return list(threads.map(lambda members: around.call(**members), calls))


@IN_BOTH_FORMATS
def test_an_answer_of_meta_that_repeats_secrets_is_not_repeated(around: Surroundings) -> None:
    told = echoes(around)
    around.graph.answer = by_media_id(told)
    for reply in at_once(around, ({"mediaId": str(number)} for number in range(len(told)))):
        assert reply.status >= 400
    assert around.stranger.connections == 0


def test_an_answer_of_a_store_that_repeats_secrets_is_not_repeated(around: Surroundings) -> None:
    told = echoes(around)
    around.store.answer = by_media_id(told)
    url = f"{around.store.url}/{BUCKET}/%d.jpeg?X-Amz-Signature={SIGNATURE}"
    calls: list[dict[str, Any]] = [{"mediaId": str(number)} for number in range(len(told))]
    calls += [
        presigned(around) | {"destinationS3PresignedUrl": {"url": url % number, "headers": {"x-a": HEADER}}}
        for number in range(len(told))
    ]
    replies = at_once(around, calls)
    assert sum(reply.status >= 400 for reply in replies) >= 14


@IN_BOTH_FORMATS
def test_refused_requests_are_not_repeated(around: Surroundings) -> None:
    secrets = f"{TOKEN}/{SIGNATURE}/{APP_SECRET}"
    target = around.target
    for reply in (
        around.call(destinationS3File={"bucketName": f"{BUCKET}_{SIGNATURE}", "key": KEY}),
        around.call(destinationS3File={"bucketName": BUCKET, "key": KEY + SIGNATURE + "/../"}),
        around.call(destinationS3File={"bucketName": BUCKET, "key": [KEY, SIGNATURE]}),
        around.call(destinationS3File={"bucketName": BUCKET, "key": KEY * 200}),
        around.call(**presigned(around, Authorization=SIGNATURE)),
        around.call(**presigned(around, **{"x-b": SIGNATURE + "\n"})),
        around.call(**presigned(around, **{"x b": SIGNATURE})),
        around.call(destinationS3PresignedUrl={"url": f"https://x.example/{SIGNATURE}", "headers": {}}),
        target.call(f'{{"destinationS3PresignedUrl": {{"url": "https://x.example/{SIGNATURE}"'.encode()),
        target.send("GET", f"/nowhere/{secrets}?X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={TOKEN}"),
        target.send("POST", f"/v1/whatsapp/media/get?X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={TOKEN}"),
        target.send("POST", "/v1/whatsapp/media/get", headers={"Authorization": f"AWS4-HMAC-SHA256 {secrets}"}),
        target.send("POST", "/v1/whatsapp/media/get", headers={"Authorization": f"Bearer {TOKEN}", "X-A": secrets}),
        target.send("POST", "/v1/whatsapp/media/get", headers={"X-Forwarded-For": secrets, "User-Agent": secrets}),
    ):
        around.keep(reply)
        assert 400 <= reply.status < 500
    assert (around.store.connections, around.stranger.connections) == (0, 0)


def test_answers_say_where_a_file_went_in_headers_alone(around: Surroundings) -> None:
    reply = around.call()
    headers = dict(reply.headers)
    assert headers["x-whaul-bucket"] == BUCKET
    assert headers["x-whaul-key"] == f"{KEY}{JPEG}.jpeg"
    names = {name for name in dict(around.call(**presigned(around)).headers) if name.startswith("x-whaul")}
    assert names == {"x-whaul-etag", "x-whaul-sha256"}


@IN_BOTH_FORMATS
def test_a_line_of_output_cannot_be_forged(around: Surroundings) -> None:
    """What strangers send makes no line, and no colour, of its own."""
    forged = '\n{"event":"forged"}\r\x1b[31mforged'
    around.call(mediaId=forged)
    around.call(originationPhoneNumberId=f"phone-number-id-{forged}")
    around.target.send("POST", "/v1/whatsapp/media/get", headers={"X-Forwarded-For": "::1%" + "forged"})
    around.target.send("GET", "/" + quote(forged))
    around.graph.answer = answer(400, json.dumps({"error": {"code": 1, "fbtrace_id": forged}}).encode())
    around.call()
    lines = around.target.output().splitlines()
    assert not any(re.match(r'\{"event":"forged|.*\x1b\[31mforged', line) for line in lines)


def test_the_database_holds_no_secret_that_can_be_read(around: Surroundings) -> None:
    folder: Path = around.target.log.parent
    content = b"".join(
        path.read_bytes() for path in folder.glob("whaul.db*") if path.is_file() and path.suffix != ".key"
    )
    assert around.target.key[0].encode() in content
    for secret in (TOKEN, APP_SECRET, around.target.key[1], ROOT_SECRET, STORE_SECRET):
        assert secret.encode() not in content
    assert {path.stat().st_mode & 0o077 for path in folder.glob("whaul.db*")} == {0}

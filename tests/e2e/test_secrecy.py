"""Nothing secret comes out: not in logs at any level, not in answers, not in metrics; and the app secret is proven."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from harness.client import Reply
from harness.store import BUCKET, StandIn, Store, s3_answer
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.simulator import Simulator, simulator_in_thread
from whaul.stack.local import REGION, clean_environment

APP_SECRET = "app-secret-0f1e2d3c4b5a"
TOKEN = "EAAtoken-9876543210-of-the-account"
PRESIGNED_SIGNATURE = "5161718191a1b1c1"
SECRET_BUCKET = "bucket-of-the-caller"
SECRET_KEY = "folder-of-the-caller/"


@pytest.fixture(scope="module")
def proving_simulator() -> Iterator[Simulator]:
    with simulator_in_thread(token=TOKEN, app_secret=APP_SECRET) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def guarded(proving_simulator: Simulator, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that logs all it can, for an account whose app asks for proof of its secret."""
    folder = tmp_path_factory.mktemp("guarded")
    store.client.create_bucket(Bucket=SECRET_BUCKET)
    environ = clean_environment() | store.endpoint.environment()
    environ |= {
        "AWS_REGION": REGION,
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "WHAUL_GRAPH_URL": proving_simulator.url,
        "WHAUL_MEDIA_HOSTS": "127.0.0.1",
        "WHAUL_PRESIGNED_HOSTS": "localhost",
        "WHAUL_DEADLINE": "1",
        "WHAUL_LOG_LEVEL": "debug",
        "WHAUL_AUDIT_LOG": str(folder / "audit.log"),
    }
    world = World(proving_simulator, environ, folder)
    token, app_secret = folder / "token", folder / "app-secret"
    token.write_text(TOKEN + "\n", encoding="utf-8")
    app_secret.write_text(APP_SECRET + "\n", encoding="utf-8")
    refused = world.run("link", "--waba-id", proving_simulator.waba_id, "--token-file", str(token))
    assert refused.returncode == 1
    assert "--app-secret-file" in refused.stderr
    world.link("--token-file", str(token), "--app-secret-file", str(app_secret))
    with world.gateway() as running:
        yield running


@pytest.fixture
def proving(proving_simulator: Simulator) -> Simulator:
    proving_simulator.reset()
    return proving_simulator


def test_an_app_that_wants_proof_of_its_secret_gets_it_on_every_graph_call_and_no_download(
    guarded: Gateway, proving: Simulator
) -> None:
    with guarded.world.gateway(WHAUL_DEADLINE="55") as patient:
        assert patient.get("100000000000003", destinationS3File=FILE)["fileSize"] == 1308
    graph, download = proving.requests
    assert (graph.hop, graph.query) == ("metadata", {"appsecret_proof": "***"})
    assert download.hop == "download"
    assert "appsecret_proof" not in download.query
    assert (graph.token, download.token) == ("valid", "valid")
    assert all((exchange.user_agent or "").startswith("whaul/") for exchange in (graph, download))


FILE = {"bucketName": SECRET_BUCKET, "key": SECRET_KEY}
VOICE = "100000000000002"


def presigned(url: str, **headers: str) -> dict[str, Any]:
    return {"destinationS3PresignedUrl": {"url": url, "headers": headers}}


def test_no_secret_is_in_any_output_answer_or_message(guarded: Gateway, proving: Simulator, store: Store) -> None:
    texts: list[str] = []

    def call(**members: Any) -> None:
        try:
            guarded.get(members.pop("media_id", VOICE), **members)
        except ClientError as error:
            texts.append(str(error))
            texts.append(json.dumps(error.response["Error"]))

    def raw(reply: Reply) -> None:
        texts.append(reply.body.decode())

    signed_url = store.presigned(f"{SECRET_KEY}mine").replace(f"/{BUCKET}/", f"/{SECRET_BUCKET}/")
    aws_url = f"https://{SECRET_BUCKET}.s3.amazonaws.com/{SECRET_KEY}?X-Amz-Signature={PRESIGNED_SIGNATURE}"
    call(destinationS3File=FILE)
    call(destinationS3File=FILE, metadataOnly=True)
    call(destinationS3File=FILE | {"key": SECRET_KEY + "../"})
    call(destinationS3File=FILE | {"key": SECRET_KEY + "x" * 1010})
    call(destinationS3File=FILE | {"bucketName": SECRET_BUCKET.upper()})
    call(destinationS3File=FILE | {"bucketName": SECRET_BUCKET + "-missing"})
    call(**presigned(store.presigned(f"{SECRET_KEY}mine")))
    call(**presigned(signed_url))
    call(**presigned(aws_url.replace("s3.amazonaws.com", "s3.evil.example")))
    call(**presigned(aws_url.replace("https://", f"https://u:{PRESIGNED_SIGNATURE}@")))
    call(**presigned(aws_url, Authorization=PRESIGNED_SIGNATURE))
    call(**presigned(aws_url, **{"x-a": PRESIGNED_SIGNATURE + "\n"}))
    call(**presigned(f"https://localhost:1/{SECRET_KEY}?X-Amz-Signature={PRESIGNED_SIGNATURE}"))
    call(**presigned(aws_url + "x" * 2000))
    for fault in (
        {"kind": "error", "code": 190, "message": TOKEN},
        {"kind": "error", "code": 131016, "message": TOKEN},
        {"kind": "not_json", "body": TOKEN},
        {"kind": "reset", "hop": "metadata"},
        {"kind": "wrong_json", "set": {"url": f"https://evil.example/?token={TOKEN}"}},
        {"kind": "wrong_json", "set": {"url": f"http://127.0.0.1:1/?token={TOKEN}"}},
        {"kind": "redirect", "location": f"https://evil.example/?token={TOKEN}"},
        {"kind": "corrupt"},
        {"kind": "reset"},
        {"kind": "html"},
    ):
        proving.fault(VOICE, **fault)
        call(destinationS3File=FILE)
        proving.clear_faults()
    raw(guarded.post(guarded.request(destinationS3File={"bucketName": 1, "key": SECRET_KEY})))
    raw(guarded.post(guarded.request(destinationS3File=SECRET_BUCKET)))
    raw(guarded.post(f'{{"destinationS3PresignedUrl": "{aws_url}"'.encode()))
    raw(guarded.send("POST", "/v1/whatsapp/media/get", aws_url.encode(), headers={"Authorization": aws_url}))
    raw(guarded.send("GET", f"/nowhere?X-Amz-Signature={PRESIGNED_SIGNATURE}"))
    raw(guarded.send("GET", "/metrics"))
    assert len(texts) > 30
    audit = guarded.world.folder / "audit.log"
    guarded.settle()
    recorded = [line for line in guarded.calls() if line["outcome"] != "UnknownOperationException"]
    eventually(lambda: audit.read_text(encoding="utf-8").count("\n") >= len(recorded))
    texts += [guarded.log.read_text(encoding="utf-8"), audit.read_text(encoding="utf-8")]
    secrets = {
        "token": TOKEN,
        "app secret": APP_SECRET,
        "secret access key of the caller": guarded.world.key.secret,
        "secret access key of S3": store.endpoint.secret_access_key,
        "key that encrypts": key_file_of(guarded.world.folder),
        "signature": PRESIGNED_SIGNATURE,
        "signature of a real URL": signed_url.rpartition("Signature=")[2][:20],
        "bucket": SECRET_BUCKET,
        "bucket in capitals": SECRET_BUCKET.upper(),
        "key": SECRET_KEY.strip("/"),
        "appsecret_proof": "appsecret_proof=",
        "a bearer": "Bearer ",
        "a signature header": "AWS4-HMAC-SHA256 Credential",
    }
    leaks = {what: text for what, secret in secrets.items() for text in texts if secret in text}
    assert leaks == {}


def key_file_of(folder: Path) -> str:
    return (folder / "whaul.db.key").read_text(encoding="utf-8").strip()


def test_the_database_holds_no_secret_in_the_clear(guarded: Gateway) -> None:
    files = [path for path in guarded.world.folder.glob("whaul.db*") if path.is_file() and path.suffix != ".key"]
    content = b"".join(path.read_bytes() for path in files)
    assert guarded.world.key.id.encode() in content
    for secret in (TOKEN, APP_SECRET, guarded.world.key.secret):
        assert secret.encode() not in content


def test_a_denial_of_the_store_does_not_repeat_its_words(recorded_gateway: Gateway, s3_stand_in: StandIn) -> None:
    s3_stand_in.always(s3_answer(403, "SignatureDoesNotMatch"))
    with pytest.raises(recorded_gateway.client().exceptions.AccessDeniedException) as refusal:
        recorded_gateway.get(VOICE)
    assert "Told by S3" not in str(refusal.value)

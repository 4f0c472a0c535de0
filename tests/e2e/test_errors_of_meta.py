"""Which failure of Meta becomes which error, and which is tried again inside the call."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.error_rows import fails, shows
from harness.stand_in import StandIn
from harness.world import Gateway, Store, World
from whaul.simulator import Simulator

DENIED = [0, 3, 10, 102, 104, 131005, 190, 200, 250, 299, 368, 130497, 131031]
THROTTLES = [4, 80007, 80008, 130429, 131048, 131056]
SIZE = 100_000


@pytest.fixture
def media_id(simulator: Simulator) -> str:
    return simulator.add_generated(SIZE, "image/png", seed=1)


def metadata_calls(simulator: Simulator, media_id: str) -> int:
    return simulator.count(media_id)["metadata"]


@shows("Meta: access codes")
@pytest.mark.parametrize("code", DENIED)
def test_a_code_about_access_is_denied_by_meta_and_not_tried_again(
    gateway: Gateway, simulator: Simulator, media_id: str, code: int
) -> None:
    simulator.fault(media_id, kind="error", code=code, subcode=463, message="Words of Meta", is_transient=True)
    message = fails(gateway, "Meta: access codes", lambda: gateway.get(media_id))
    assert f"code {code}" in message
    assert "subcode 463" in message
    assert "fbtrace_id A" in message
    assert "Words of Meta" not in message
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: 401 or 403 without a code")
@pytest.mark.parametrize("status", [401, 403])
def test_a_bare_401_or_403_is_denied_by_meta(
    gateway: Gateway, simulator: Simulator, media_id: str, status: int
) -> None:
    simulator.fault(media_id, kind="status", status=status, body="no JSON")
    fails(gateway, "Meta: 401 or 403 without a code", lambda: gateway.get(media_id))
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: 100 with subcode 33 or none", "Meta: 404 on metadata")
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "code": 100, "subcode": 33},
        {"kind": "error", "code": 100},
        {"kind": "error", "code": 100, "status": 404},
        {"kind": "status", "status": 404},
        {"kind": "html", "hop": "metadata", "status": 404},
    ],
)
def test_a_media_id_that_meta_does_not_know_is_not_found(
    gateway: Gateway, simulator: Simulator, media_id: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault)
    row = "Meta: 100 with subcode 33 or none" if "code" in fault else "Meta: 404 on metadata"
    fails(gateway, row, lambda: gateway.get(media_id))
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: 100 with subcode 33 or none")
def test_a_media_id_that_is_too_old_is_not_found(gateway: Gateway, simulator: Simulator, media_id: str) -> None:
    simulator.advance(7 * 24 * 3600 + 1)
    message = fails(gateway, "Meta: 100 with subcode 33 or none", lambda: gateway.get(media_id))
    assert "7 days" in message


@shows("Meta: other 100, 131008, 131009, other 4xx")
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "code": 100, "subcode": 2018001},
        {"kind": "error", "code": 131008},
        {"kind": "error", "code": 131009},
        {"kind": "error", "code": 131052},
        {"kind": "error", "code": 33},
        {"kind": "error", "code": 1, "status": 400},
        {"kind": "error", "code": 999999, "status": 409},
        {"kind": "status", "status": 400},
        {"kind": "status", "status": 410},
    ],
)
def test_another_refusal_is_a_failed_dependency_that_is_not_tried_again(
    gateway: Gateway, simulator: Simulator, media_id: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault)
    message = fails(gateway, "Meta: other 100, 131008, 131009, other 4xx", lambda: gateway.get(media_id))
    assert "code" not in fault or f"code {fault['code']}" in message
    assert metadata_calls(simulator, media_id) == 1


def throttle(code: int, status: int) -> dict[str, Any]:
    return {"kind": "error", "code": code, "status": status}


PASSING = [
    *(throttle(code, 400) for code in THROTTLES),
    throttle(4, 429),
    throttle(130429, 429),
    {"kind": "rate_limit", "regain_minutes": 0},
    {"kind": "status", "status": 429},
    {"kind": "error", "code": 1, "status": 500},
    {"kind": "error", "code": 1, "status": 400, "is_transient": True},
    {"kind": "error", "code": 2},
    {"kind": "error", "code": 131000},
    {"kind": "error", "code": 131016},
    {"kind": "error", "code": 131016, "status": 400},
    {"kind": "error", "code": 131057},
    {"kind": "error", "code": 133004},
    {"kind": "error", "code": 999999, "status": 500},
    {"kind": "error", "code": 999999, "status": 400, "is_transient": True},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502},
    {"kind": "html", "hop": "metadata", "status": 503},
    {"kind": "reset", "hop": "metadata"},
    {"kind": "reset", "hop": "metadata", "at": 10},
    {"kind": "truncate", "hop": "metadata"},
    {"kind": "not_json"},
    {"kind": "not_json", "body": "[]"},
    {"kind": "html", "hop": "metadata"},
    {"kind": "wrong_json"},
    {"kind": "wrong_json", "drop": ["sha256"]},
    {"kind": "wrong_json", "set": {"sha256": "abc"}},
    {"kind": "wrong_json", "set": {"file_size": -1}},
    {"kind": "wrong_json", "set": {"file_size": "12.5"}},
    {"kind": "wrong_json", "set": {"mime_type": "image/png\r\nX-Evil: 1"}},
]


@shows("Meta: throttles", "Meta: passing faults", "Meta: other 5xx", "Meta: not the documented JSON")
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: "-".join(map(str, fault.values())))
def test_what_may_pass_is_tried_again_inside_the_call(
    gateway: Gateway, simulator: Simulator, media_id: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault, times=1)
    assert gateway.get(media_id)["fileSize"] == SIZE
    assert metadata_calls(simulator, media_id) == 2


@shows("Meta: throttles", "Meta: passing faults", "Meta: other 5xx", "Meta: connection errors", "Meta: timeouts")
@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("Meta: throttles", {"kind": "error", "code": 80007}),
        ("Meta: throttles", {"kind": "status", "status": 429}),
        ("Meta: passing faults", {"kind": "error", "code": 2}),
        ("Meta: other 5xx", {"kind": "status", "status": 500}),
        ("Meta: connection errors", {"kind": "reset", "hop": "metadata"}),
        ("Meta: not the documented JSON", {"kind": "not_json"}),
    ],
)
def test_what_does_not_pass_before_the_deadline_is_told(
    brief_gateway: Gateway, simulator: Simulator, media_id: str, row: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault)
    started = time.monotonic()
    fails(brief_gateway, row, lambda: brief_gateway.get(media_id))
    assert time.monotonic() - started < 20
    assert metadata_calls(simulator, media_id) >= 2


@shows("Meta: timeouts")
@pytest.mark.parametrize("hop", ["metadata", "download"])
def test_silence_ends_at_the_deadline(brief_gateway: Gateway, simulator: Simulator, media_id: str, hop: str) -> None:
    simulator.fault(media_id, kind="stall", hop=hop)
    started = time.monotonic()
    message = fails(brief_gateway, "Meta: timeouts", lambda: brief_gateway.get(media_id))
    assert 1.4 < time.monotonic() - started < 20
    assert "WHAUL_DEADLINE" in message


@shows("Meta: throttles")
@pytest.mark.parametrize(
    ("asked", "header"),
    [({"retry_after": 30}, "30"), ({"regain_minutes": 2}, "120"), ({"retry_after": 30, "regain_minutes": 1}, "60")],
)
def test_a_throttle_that_outlasts_the_deadline_is_passed_on_at_once(
    brief_gateway: Gateway, simulator: Simulator, media_id: str, asked: dict[str, int], header: str
) -> None:
    simulator.fault(media_id, kind="error", code=4, **asked)
    kind = brief_gateway.client().exceptions.ThrottledRequestException
    started = time.monotonic()
    with pytest.raises(kind) as refusal:
        brief_gateway.get(media_id)
    assert time.monotonic() - started < 20
    assert refusal.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == header
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: throttles")
def test_a_wait_that_meta_asks_for_is_honoured(gateway: Gateway, simulator: Simulator, media_id: str) -> None:
    simulator.fault(media_id, kind="status", status=429, retry_after=1, times=1)
    started = time.monotonic()
    gateway.get(media_id)
    assert time.monotonic() - started >= 1.0
    assert metadata_calls(simulator, media_id) == 2


@pytest.fixture(scope="module")
def lonely_gateway(world: World, nobody: str) -> Iterator[Gateway]:
    """A gateway whose Graph API does not listen."""
    with world.gateway(WHAUL_GRAPH_URL=f"http://{nobody}", WHAUL_DEADLINE="1") as running:
        yield running


@shows("Meta: connection errors")
def test_a_graph_api_that_cannot_be_reached_is_a_failed_dependency(lonely_gateway: Gateway) -> None:
    message = fails(lonely_gateway, "Meta: connection errors", lambda: lonely_gateway.get("1"))
    assert "could not be made" in message
    assert "127.0.0.1" not in message


@shows("Meta: download URL 404", "Meta: download URL 401 or 403")
@pytest.mark.parametrize(
    ("fault", "row"),
    [
        ({"kind": "expired_url"}, "Meta: download URL 404"),
        ({"kind": "error", "code": 100, "status": 404, "hop": "download"}, "Meta: download URL 404"),
        ({"kind": "status", "status": 401, "hop": "download"}, "Meta: download URL 401 or 403"),
        ({"kind": "status", "status": 403, "hop": "download"}, "Meta: download URL 401 or 403"),
        ({"kind": "error", "code": 190, "hop": "download"}, "Meta: download URL 401 or 403"),
    ],
)
def test_a_refused_download_url_is_resolved_again_once(
    *, gateway: Gateway, simulator: Simulator, store: Store, media_id: str, fault: dict[str, Any], row: str, prefix: str
) -> None:
    simulator.fault(media_id, **fault)
    fails(gateway, row, lambda: gateway.get_to(media_id, prefix))
    assert (metadata_calls(simulator, media_id), simulator.count(media_id)["download"]) == (2, 2)
    assert store.keys(prefix) == []
    simulator.clear_faults(media_id)
    simulator.fault(media_id, **fault, times=1)
    assert gateway.get_to(media_id, prefix)["fileSize"] == SIZE
    assert (metadata_calls(simulator, media_id), simulator.count(media_id)["download"]) == (4, 4)


BAD_BODIES = [
    {"kind": "truncate"},
    {"kind": "truncate", "at": 0},
    {"kind": "reset"},
    {"kind": "reset", "at": 0},
    {"kind": "reset", "at": 50_000},
    {"kind": "longer", "framing": "chunked"},
    {"kind": "longer", "framing": "close"},
    {"kind": "longer", "framing": "length"},
    {"kind": "longer", "framing": "chunked", "extra": 1},
    {"kind": "corrupt"},
    {"kind": "corrupt", "at": 0},
    {"kind": "html"},
    {"kind": "wrong_hash"},
    {"kind": "wrong_size", "by": 1},
    {"kind": "wrong_size", "by": -1},
    {"kind": "status", "status": 500, "hop": "download"},
    {"kind": "error", "code": 131016, "hop": "download"},
]


@shows("Meta: body short, long, wrong hash, or HTML")
@pytest.mark.parametrize("fault", BAD_BODIES, ids=lambda fault: "-".join(map(str, fault.values())))
@pytest.mark.parametrize("size", [SIZE, 2_000_000])
def test_a_bad_body_is_fetched_again_from_a_fresh_url(
    *, gateway: Gateway, simulator: Simulator, store: Store, prefix: str, fault: dict[str, Any], size: int
) -> None:
    media_id = simulator.add_generated(size, "image/png", seed=2)
    simulator.fault(media_id, **fault, times=1)
    answer = gateway.get_to(media_id, prefix)
    assert store.read(f"{prefix}{media_id}.png") == simulator.media[media_id].read()
    assert answer["fileSize"] == size
    assert metadata_calls(simulator, media_id) == 2
    assert simulator.count(media_id)["download"] == 2


@shows("Meta: body short, long, wrong hash, or HTML")
@pytest.mark.parametrize(
    "fault",
    [{"kind": "truncate"}, {"kind": "longer"}, {"kind": "corrupt"}, {"kind": "html"}, {"kind": "wrong_hash"}],
    ids=lambda fault: str(fault["kind"]),
)
def test_a_body_that_stays_bad_is_a_failed_dependency_and_nothing_is_stored(
    *, brief_gateway: Gateway, simulator: Simulator, store: Store, media_id: str, prefix: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault)
    row = "Meta: body short, long, wrong hash, or HTML"
    fails(brief_gateway, row, lambda: brief_gateway.get_to(media_id, prefix))
    assert simulator.count(media_id)["download"] >= 2
    assert store.keys(prefix) == []


@shows("Meta: body over the size limit")
def test_a_file_over_the_limit_is_refused_before_it_is_fetched(brief_gateway: Gateway, simulator: Simulator) -> None:
    media_id = simulator.add_generated(5_000_001)
    row = "Meta: body over the size limit"
    assert "5000000" in fails(brief_gateway, row, lambda: brief_gateway.get(media_id))
    assert (metadata_calls(simulator, media_id), simulator.count(media_id)["download"]) == (1, 0)
    assert brief_gateway.get(media_id, metadataOnly=True)["fileSize"] == 5_000_001


@pytest.mark.parametrize(
    "url",
    [
        "{stand_in}/file",
        "http://169.254.169.254/latest/meta-data",
        "https://evil.example/f",
        "file:///etc/passwd",
        "//x/",
    ],
)
def test_the_token_goes_to_listed_media_hosts_only(
    brief_gateway: Gateway, simulator: Simulator, media_id: str, s3_stand_in: StandIn, url: str
) -> None:
    """A stand-in at `localhost` is another host than the listed 127.0.0.1."""
    url = url.format(stand_in=s3_stand_in.url.replace("127.0.0.1", "localhost"))
    simulator.fault(media_id, kind="wrong_json", set={"url": url})
    fails(brief_gateway, "Meta: passing faults", lambda: brief_gateway.get(media_id))
    simulator.clear_faults()
    simulator.fault(media_id, kind="redirect", location=url)
    fails(brief_gateway, "Meta: passing faults", lambda: brief_gateway.get(media_id))
    assert s3_stand_in.requests == []

"""Which failure of Meta becomes which error, and which is tried again inside the call."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.error_rows import fails, shows
from harness.store import StandIn, Store
from harness.world import Gateway, World
from whaul.simulator import Simulator

SIZE = 100_000


@pytest.fixture
def media_id(simulator: Simulator) -> str:
    return simulator.add_generated(SIZE, "image/png", seed=1)


def metadata_calls(simulator: Simulator, media_id: str) -> int:
    return simulator.count(media_id)["metadata"]


@shows("Meta: access codes")
def test_a_code_about_access_is_denied_by_meta_and_not_tried_again(
    gateway: Gateway, simulator: Simulator, media_id: str
) -> None:
    simulator.fault(media_id, kind="error", code=190, subcode=463, message="Words of Meta", is_transient=True)
    message = fails(gateway, "Meta: access codes", lambda: gateway.get(media_id))
    assert "code 190" in message
    assert "subcode 463" in message
    assert "fbtrace_id A" in message
    assert "Words of Meta" not in message
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: 401 or 403 without a code")
def test_a_bare_403_is_denied_by_meta(gateway: Gateway, simulator: Simulator, media_id: str) -> None:
    simulator.fault(media_id, kind="status", status=403, body="no JSON")
    fails(gateway, "Meta: 401 or 403 without a code", lambda: gateway.get(media_id))
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: 100 with subcode 33 or none", "Meta: 404 on metadata")
@pytest.mark.parametrize("fault", [{"kind": "error", "code": 100, "subcode": 33}, {"kind": "status", "status": 404}])
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
@pytest.mark.parametrize("fault", [{"kind": "error", "code": 131009}, {"kind": "status", "status": 410}])
def test_another_refusal_is_a_failed_dependency_that_is_not_tried_again(
    gateway: Gateway, simulator: Simulator, media_id: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault)
    message = fails(gateway, "Meta: other 100, 131008, 131009, other 4xx", lambda: gateway.get(media_id))
    assert "code" not in fault or f"code {fault['code']}" in message
    assert metadata_calls(simulator, media_id) == 1


PASSING: list[dict[str, Any]] = [
    {"kind": "error", "code": 80007},
    {"kind": "status", "status": 429},
    {"kind": "error", "code": 131016},
    {"kind": "status", "status": 500},
    {"kind": "reset", "hop": "metadata"},
    {"kind": "not_json"},
    {"kind": "wrong_json"},
]


@shows("Meta: throttles", "Meta: passing faults", "Meta: other 5xx", "Meta: not the documented JSON")
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: "-".join(map(str, fault.values())))
def test_what_may_pass_is_tried_again_inside_the_call(
    gateway: Gateway, simulator: Simulator, media_id: str, fault: dict[str, Any]
) -> None:
    simulator.fault(media_id, **fault, times=1)
    assert gateway.get(media_id)["fileSize"] == SIZE
    assert metadata_calls(simulator, media_id) == 2


STAYING: list[tuple[str, dict[str, Any]]] = [
    ("Meta: throttles", {"kind": "error", "code": 80007}),
    ("Meta: passing faults", {"kind": "error", "code": 2}),
    ("Meta: other 5xx", {"kind": "status", "status": 500}),
    ("Meta: connection errors", {"kind": "reset", "hop": "metadata"}),
    ("Meta: not the documented JSON", {"kind": "not_json"}),
    ("Meta: timeouts", {"kind": "stall", "hop": "metadata"}),
    ("Meta: timeouts", {"kind": "stall", "hop": "download"}),
]
BAD_BODIES = ["truncate", "longer", "corrupt", "html", "wrong_hash"]
STAYING += [("Meta: body short, long, wrong hash, or HTML", {"kind": kind}) for kind in BAD_BODIES]


@shows(*(row for row, _ in STAYING))
def test_what_does_not_pass_before_the_deadline_is_told_and_nothing_is_stored(
    brief_gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    brief_gateway.client()

    def call(number: int, row: str, fault: dict[str, Any]) -> str:
        media_id = simulator.add_generated(SIZE, "image/png", seed=number)
        simulator.fault(media_id, **fault)
        message = fails(brief_gateway, row, lambda: brief_gateway.get_to(media_id, prefix))
        assert metadata_calls(simulator, media_id) >= 1
        return message

    with ThreadPoolExecutor(len(STAYING)) as pool:  # each takes until the deadline
        calls = [pool.submit(call, number, row, fault) for number, (row, fault) in enumerate(STAYING)]
        messages = [each.result() for each in calls]
    silent = [message for (row, _), message in zip(STAYING, messages, strict=True) if row == "Meta: timeouts"]
    assert all("WHAUL_DEADLINE" in message for message in silent)
    assert store.keys(prefix) == []


@shows("Meta: throttles")
def test_a_throttle_that_outlasts_the_deadline_is_passed_on_at_once(
    gateway: Gateway, simulator: Simulator, media_id: str
) -> None:
    simulator.fault(media_id, kind="error", code=4, retry_after=30, regain_minutes=1)
    with pytest.raises(gateway.client().exceptions.ThrottledRequestException) as refusal:
        gateway.get(media_id)
    assert refusal.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "60"
    assert metadata_calls(simulator, media_id) == 1


@shows("Meta: throttles")
def test_a_wait_that_meta_asks_for_is_honoured(gateway: Gateway, simulator: Simulator, media_id: str) -> None:
    simulator.fault(media_id, kind="status", status=429, retry_after=1, times=1)
    gateway.get(media_id)
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
        ({"kind": "status", "status": 403, "hop": "download"}, "Meta: download URL 401 or 403"),
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


@shows("Meta: body short, long, wrong hash, or HTML")
@pytest.mark.parametrize(
    ("kind", "size"), [*((kind, SIZE) for kind in BAD_BODIES), ("truncate", 2_000_000), ("corrupt", 2_000_000)]
)
def test_a_bad_body_is_fetched_again_from_a_fresh_url(
    *, gateway: Gateway, simulator: Simulator, store: Store, prefix: str, kind: str, size: int
) -> None:
    media_id = simulator.add_generated(size, "image/png", seed=2)
    simulator.fault(media_id, kind=kind, times=1)
    answer = gateway.get_to(media_id, prefix)
    assert store.read(f"{prefix}{media_id}.png") == simulator.media[media_id].read()
    assert answer["fileSize"] == size
    assert metadata_calls(simulator, media_id) == 2
    assert simulator.count(media_id)["download"] == 2


@shows("Meta: body over the size limit")
def test_a_file_over_the_limit_is_refused_before_it_is_fetched(brief_gateway: Gateway, simulator: Simulator) -> None:
    media_id = simulator.add_generated(5_000_001)
    row = "Meta: body over the size limit"
    assert "5000000" in fails(brief_gateway, row, lambda: brief_gateway.get(media_id))
    assert (metadata_calls(simulator, media_id), simulator.count(media_id)["download"]) == (1, 0)
    assert brief_gateway.get(media_id, metadataOnly=True)["fileSize"] == 5_000_001


HOSTS = ["{stand_in}/file", "http://169.254.169.254/latest/meta-data", "https://evil.example/f", "file:///etc/passwd"]


def test_the_token_goes_to_listed_media_hosts_only(
    brief_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    """A stand-in at `localhost` is another host than the listed 127.0.0.1."""
    brief_gateway.client()
    urls = [url.format(stand_in=s3_stand_in.url.replace("127.0.0.1", "localhost")) for url in HOSTS]
    faults = [{"kind": "wrong_json", "set": {"url": url}} for url in urls]
    faults += [{"kind": "redirect", "location": url} for url in urls]

    def call(number: int, fault: dict[str, Any]) -> None:
        media_id = simulator.add_generated(SIZE, "image/png", seed=number)
        simulator.fault(media_id, **fault)
        fails(brief_gateway, "Meta: passing faults", lambda: brief_gateway.get(media_id))

    with ThreadPoolExecutor(len(faults)) as pool:
        list(pool.map(call, range(len(faults)), faults))
    assert s3_stand_in.requests == []

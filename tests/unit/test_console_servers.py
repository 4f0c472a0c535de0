"""What the console makes of the answers of servers, and of those that give none."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.loopback import SILENCE, Answer, Loopback, Received, Reply, reply
from harness.receiver import receiving
from tools.certificates import make_certificates
from whaul.console.servers import Build, Circuit, Servers, ServerState, Usage
from whaul.settings import Settings

pytestmark = pytest.mark.anyio
METRICS = """\
# TYPE whaul_build_info gauge
whaul_build_info{version="0.1.0",commit="abc"} 1.0
whaul_transfers 3.0
whaul_max_transfers 64.0
# TYPE whaul_calls_total counter
whaul_calls_total{operation="A",outcome="ok"} %d
whaul_calls_total{operation="B",outcome="ok"} 5.0
whaul_circuit_probe_timestamp_seconds{kind="host",name="a:443"} 1.9e9
whaul_circuit_probe_timestamp_seconds{kind="host",name="b:443"} 0.0
whaul_meta_usage_percent{account="",kind="app"} 37.5
strangers_metric 1.0
"""


def server(*calls: int, ready: Reply | None = None) -> Callable[[Received], Reply]:
    """A server whose count of calls is each of these in turn."""
    counts = list(calls)

    def answer(request: Received) -> Reply:
        if request.target == "/readyz":
            return ready or reply(200, {"status": "ok", "reasons": []})
        return reply(200, METRICS % (counts.pop(0) if len(counts) > 1 else counts[0]))

    return answer


async def look(answer: Answer, *, patience: float = 3.0) -> ServerState:
    async with Loopback(answer) as running:
        [state] = await Servers(Settings(console_servers=(running.url,)), patience).look()
        return state


async def test_a_server_tells_its_build_slots_circuits_and_usage() -> None:
    state = await look(server(10))
    assert (state.problem, state.reasons) == (None, ())
    assert state.build == Build("0.1.0", "abc")
    assert (state.now("whaul_transfers"), state.now("whaul_max_transfers")) == (3, 64)
    [circuit] = state.circuits
    assert isinstance(circuit, Circuit)
    assert (circuit.kind, circuit.name, circuit.probe_at.year) == ("host", "a:443", 2030)
    assert list(state.usages) == [Usage("app", "", 37.5)]
    assert state.rate("whaul_calls_total") is None, "nothing to compare with"


async def test_rates_are_those_since_an_earlier_look_and_none_after_a_restart() -> None:
    async with Loopback(server(10, 20, 30, 1)) as running:
        servers = Servers(Settings(console_servers=(running.url,)), look=0)
        await servers.look()
        [second] = await servers.look()
        [third] = await servers.look()
        assert second.rate("whaul_calls_total", operation="B") == 0
        assert third.sample is not None
        assert third.before is not None
        assert third.rate("whaul_calls_total") == 20 / (third.sample.at - third.before.at)
        [restarted] = await servers.look()
        assert restarted.rate("whaul_calls_total") is None


async def test_who_looks_at_the_same_time_shares_one_question() -> None:
    async with Loopback(server(10)) as running:
        servers = Servers(Settings(console_servers=(running.url,)))
        first, second = await asyncio.gather(servers.look(), servers.look())
        assert first is second
        assert [request.target for request in running.requests] == ["/readyz", "/metrics"]


async def test_one_that_is_not_ready_says_why() -> None:
    not_ready = reply(503, {"status": "unavailable", "reasons": ["the database does not answer"]})
    state = await look(server(10, ready=not_ready))
    assert state.reasons == ("the database does not answer",)
    assert state.build is not None


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (reply(200, "hello"), "something else than whaul"),
        (reply(404, ""), "something else than whaul"),
        (reply(200, "a{b"), "something else than whaul"),
        (SILENCE, "no answer within 0.2 seconds"),
    ],
)
async def test_one_that_does_not_answer_is_told_with_what_to_do(answer: Answer, problem: str) -> None:
    state = await look(answer, patience=0.2)
    assert problem in str(state.problem)
    assert state.advice
    assert (state.build, state.rate("whaul_calls_total"), list(state.circuits)) == (None, None, [])


async def test_a_named_server_must_have_a_certificate_that_is_trusted_and_our_own_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(tmp_path)
    with receiving(certificates.server_context()) as running:
        named = Settings(console_servers=(running.url.partition("/hook")[0],))
        [refused] = await Servers(named).look()
        assert refused.problem == "its certificate is not trusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        [trusted] = await Servers(named).look()
        assert "something else than whaul" in str(trusted.problem)
        monkeypatch.delenv("SSL_CERT_FILE")
        port = int(running.url.split(":")[2].split("/")[0])
        own = Settings(port=port, tls_cert_file=certificates.chain, tls_key_file=certificates.key)
        [ours] = await Servers(own).look()
        assert "something else than whaul" in str(ours.problem)


async def test_a_name_is_asked_at_its_addresses_and_one_of_two_families_is_one_server() -> None:
    async with Loopback(server(10)) as running:
        [state] = await Servers(Settings(console_servers=(f"http://localhost:{running.port}",))).look()
        assert (state.url, state.host, state.problem) == (running.url, "localhost", None)


async def test_a_name_without_an_address_is_told() -> None:
    [state] = await Servers(Settings(console_servers=("http://x..y:1",))).look()
    assert "no address" in str(state.problem)


async def test_without_a_setting_it_is_the_server_of_this_machine() -> None:
    assert Servers(Settings(host="0.0.0.0", port=8080)).urls == ["http://127.0.0.1:8080"]  # noqa: S104 - no listener
    assert Servers(Settings(host="::1", port=8080)).urls == ["http://[::1]:8080"]
    assert Servers(Settings(port=0)).urls == []
    assert await Servers(Settings(port=0)).look() == []


def test_builds_are_alike_if_nothing_tells_them_apart() -> None:
    assert Build("1", "a").is_like(Build("1", ""))
    assert not Build("1", "a").is_like(Build("1", "b"))
    assert not Build("1", "a").is_like(Build("2", "a"))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e300"])
async def test_what_is_no_count_is_of_a_stranger(value: str) -> None:
    state = await look(lambda _: reply(200, f"{METRICS % 1}whaul_waiting_calls {value}\n"))
    assert state.problem == "something else than whaul answers"


async def test_a_moment_that_no_calendar_has_is_left_out() -> None:
    probe = 'whaul_circuit_probe_timestamp_seconds{kind="host",name="%s"} %s\n'
    text = METRICS % 1 + probe % ("c", "1e15") + probe % ("d", "-1e15")
    state = await look(lambda request: reply(200, {"reasons": []} if request.target == "/readyz" else text))
    assert [circuit.name for circuit in state.circuits] == ["a:443"]

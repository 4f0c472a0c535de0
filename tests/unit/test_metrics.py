"""The metrics, as Prometheus reads them."""

import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from whaul import __version__
from whaul.build import commit
from whaul.telemetry.call import Call, Hop, Hops
from whaul.telemetry.catalogue import METRICS, SECONDS
from whaul.telemetry.event_metrics import Backlog, Waiting
from whaul.telemetry.metrics import MAX_NAMED, Metrics
from whaul.telemetry.process import ProcessMetrics

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values, as a scraper reads it."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "le")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("le", "+Inf") == "+Inf"
    }


def test_a_stored_file_is_counted_with_its_hops_and_bytes() -> None:
    metrics = Metrics()
    call = Call(
        "id",
        operation="GetWhatsAppMessageMedia",
        bytes=1000,
        hops=Hops([Hop("describe", 1.0, 1.1), Hop("put", 2.0, 2.2)]),
    )
    metrics.observe(call, 0.4)
    metrics.observe(call, 0.4)
    found = samples(metrics)
    assert found["whaul_calls_total", "GetWhatsAppMessageMedia", "ok"] == 2
    assert found["whaul_call_seconds_sum", "GetWhatsAppMessageMedia"] == pytest.approx(0.8)
    assert found["whaul_hop_seconds_count", "describe"] == 2
    assert found["whaul_hop_seconds_sum", "put"] == pytest.approx(0.4)
    assert found["whaul_stored_bytes_total",] == 2000


def test_a_failed_call_is_counted_by_its_error_and_stores_nothing() -> None:
    metrics = Metrics()
    metrics.observe(Call("id", operation="GetWhatsAppMessageMedia", error="DependencyException"), 1.0)
    metrics.observe(Call("id", error="UnknownOperationException"), 0.0)
    found = samples(metrics)
    assert found["whaul_calls_total", "GetWhatsAppMessageMedia", "DependencyException"] == 1
    assert found["whaul_calls_total", "none", "UnknownOperationException"] == 1
    assert found["whaul_stored_bytes_total",] == 0
    assert not [name for name in found if name[0] == "whaul_hop_seconds_count"]


def test_metas_usage_shows_what_it_said_last() -> None:
    metrics = Metrics()
    metrics.observe_meta_usage({("app", ""): 12.0, ("business", "1001"): 80.0})
    metrics.observe_meta_usage({("app", ""): 13.0})
    found = samples(metrics)
    assert found["whaul_meta_usage_percent", "", "app"] == 13
    assert found["whaul_meta_usage_percent", "1001", "business"] == 80


def test_what_is_left_alone_is_named_and_counted() -> None:
    metrics = Metrics()
    hosts, numbers = metrics.circuits("host"), metrics.circuits("phone_number")
    hosts("a:443", 10.0)
    hosts("b:443", 10.0)
    hosts("b:443", 10.0)
    hosts("a:443", None)
    numbers("phone-number-id-1 -123456789", 30.0)
    found = samples(metrics)
    assert (found["whaul_open_circuits", "host"], found["whaul_open_circuits", "phone_number"]) == (1, 1)
    name = "whaul_circuit_probe_timestamp_seconds"
    assert found[name, "host", "a:443"] == 0
    assert found[name, "host", "b:443"] > time.time()
    assert found[name, "phone_number", "phone-number-id-1"] > time.time()
    for number in range(MAX_NAMED):
        hosts(f"{number}:443", 10.0)
    assert samples(metrics)["whaul_open_circuits", "host"] == MAX_NAMED + 1
    assert len([key for key in samples(metrics) if key[:2] == (name, "host")]) == MAX_NAMED


def test_the_ends_of_tokens_are_those_that_were_read_last() -> None:
    metrics = Metrics()
    name = "whaul_token_expiry_timestamp_seconds"
    assert not [found for found in samples(metrics) if found[0] == name]
    metrics.set_token_expiries({"waba-1": datetime(2030, 1, 1, tzinfo=UTC), "waba-2": datetime(2031, 1, 1, tzinfo=UTC)})
    metrics.set_token_expiries({"waba-1": datetime(2029, 1, 1, tzinfo=UTC)})
    found = {key: value for key, value in samples(metrics).items() if key[0] == name}
    assert found == {(name, "waba-1"): datetime(2029, 1, 1, tzinfo=UTC).timestamp()}


def test_two_gateways_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.transfers.inc()
    assert samples(second)["whaul_transfers",] == 0


@LINUX
def test_the_catalogue_has_every_metric_and_no_other(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.disk.folder = tmp_path
    found = {
        (family.name + "_total" if family.type == "counter" else family.name): family
        for family in text_string_to_metric_families(metrics.exposition().decode())
        if not family.name.endswith("_created")
    }
    assert found.keys() == METRICS.keys()
    for name, entry in METRICS.items():
        assert found[name].type == entry.kind
        assert name.startswith("process_") or found[name].documentation == entry.help
        assert re.fullmatch(r"[A-Z1][^\[\]`]+\.", entry.help), "a sentence without Markdown"


def test_the_first_webhook_of_an_outcome_is_an_increase() -> None:
    found = samples(Metrics())
    assert found["whaul_webhooks_total", "bad_signature"] == 0
    assert found["whaul_archive_files_total", "failed"] == 0


def test_what_waits_is_told_for_each_destination() -> None:
    metrics = Metrics()
    waiting = Waiting(events=3, oldest_seconds=60, overdue_seconds=5, dead=1, share=0.5, state="open")
    metrics.events.waiting.found = Backlog(3, 2, 7.0, {"orders": waiting, "crm": Waiting()})
    found = samples(metrics)
    assert found["whaul_undelivered_events", "orders"] == 3
    assert found["whaul_oldest_undelivered_seconds", "orders"] == 60
    assert found["whaul_oldest_overdue_seconds", "orders"] == 5
    assert found["whaul_dead_events", "orders"] == 1
    assert found["whaul_backlog_share", "orders"] == 0.5
    assert {key[1:] for key in found if key[0] == "whaul_destination_state"} == {("orders", "open"), ("crm", "active")}


def test_the_room_on_the_disk_is_told_where_there_is_a_database_on_it(tmp_path: Path) -> None:
    metrics = Metrics()
    assert ("whaul_disk_free_bytes",) not in samples(metrics)
    metrics.disk.folder = tmp_path
    found = samples(metrics)
    assert 0 < found["whaul_disk_free_bytes",] < found["whaul_disk_bytes",]
    metrics.disk.folder = tmp_path / "gone"
    assert ("whaul_disk_free_bytes",) not in samples(metrics)


def test_what_runs_is_told() -> None:
    found = samples(Metrics())
    python = platform.python_implementation(), platform.python_version()
    assert found["whaul_build_info", commit() or "", *python, __version__] == 1


@LINUX
def test_what_the_process_uses_is_told() -> None:
    found = samples(Metrics())
    assert found["process_cpu_seconds_total",] > 0
    assert found["process_resident_memory_bytes",] > 10_000_000
    assert 0 < found["process_open_fds",] < found["process_max_fds",]
    assert found["process_start_time_seconds",] <= time.time()


@LINUX
def test_what_several_processes_use_is_added_up() -> None:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()  # until then it is little more than a copy of us
        one = values(ProcessMetrics("1", lambda: [os.getpid()]))
        both = values(ProcessMetrics("1", lambda: [os.getpid(), other.pid]))
        gone = values(ProcessMetrics("1", lambda: [os.getpid(), 2**22 + 1]))
        other.communicate(b"\n")
    assert both["process_resident_memory_bytes"] > one["process_resident_memory_bytes"] + 1_000_000
    assert both["process_open_fds"] > one["process_open_fds"]
    assert both["process_start_time_seconds"] == one["process_start_time_seconds"]
    assert gone.keys() == one.keys()


def values(collector: ProcessMetrics) -> dict[str, float]:
    return {sample.name: sample.value for metric in collector.collect() for sample in metric.samples}


def test_the_buckets_reach_from_milliseconds_past_the_deadline() -> None:
    assert list(SECONDS) == sorted(SECONDS)
    assert SECONDS[0] <= 0.01
    assert SECONDS[-1] >= 55


WORKER = """
import sys
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import MAX_NAMED, Metrics
metrics = Metrics()
metrics.observe(Call("id", operation="GetWhatsAppMessageMedia", bytes=10), 0.1)
metrics.transfers.inc()
if sys.argv[1:]:
    sys.stdout.write(metrics.exposition().decode())
"""


def test_with_several_workers_each_answers_for_all(tmp_path: Path) -> None:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", WORKER], env=environ, check=True)
    last = subprocess.run(
        [sys.executable, "-c", WORKER, "show"], env=environ, check=True, capture_output=True, text=True
    )
    assert 'whaul_calls_total{operation="GetWhatsAppMessageMedia",outcome="ok"} 2.0' in last.stdout
    assert "whaul_stored_bytes_total 20.0" in last.stdout
    assert "whaul_build_info{" in last.stdout
    assert "whaul_workers 1.0" in last.stdout
    assert "whaul_worker_starts_total 2.0" in last.stdout, "the one that has ended, too"
    assert last.stdout.count("\nprocess_resident_memory_bytes ") == (1 if sys.platform == "linux" else 0)
    assert "whaul_transfers 1.0" in last.stdout, "a gauge adds up the living workers only"

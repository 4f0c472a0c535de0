"""What traces cost a call: whaul without them beside whaul with shares of its calls exported, in turns."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from tools.bench.contestants import Contestant, Ground, serve
from tools.bench.figures import cpu_ratio, paired
from tools.bench.sweep import sweep
from tools.bench.workloads import QUICK

SHARES: Final = (0.0, 0.05, 1.0)
OFF: Final = "off"


def bench(ground: Ground, rounds: int, say: Callable[[str], None]) -> int:
    """Print the CPU of a call with traces, relative to one without; give the exit code."""
    with _collector() as url:
        variants = [_contestant(OFF, {})]
        variants += [
            _contestant(
                f"{share:.0%}",
                {
                    "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                    "OTEL_TRACES_SAMPLER": "traceidratio",
                    "OTEL_TRACES_SAMPLER_ARG": str(share),
                },
            )
            for share in SHARES
        ]
        cells = sweep(QUICK, variants, ground, rounds, say)
    for variant in variants[1:]:
        ratio = paired(cells[OFF]["runs"], cells[variant.name]["runs"], cpu_ratio)
        if ratio is None:
            say("bench: a run failed")
            return 1
        added = [f"{(value - 1) * 100:+.1f} %" for value in (ratio.median, ratio.least, ratio.most)]
        say(f"{variant.name} of the calls exported: {added[0]} CPU a call ({added[1]} to {added[2]})")
    return 0


def _contestant(name: str, environ: Mapping[str, str]) -> Contestant:
    return Contestant(name, name, partial(serve, environ=environ), lambda _workload: True)


@contextmanager
def _collector() -> Iterator[str]:
    """Take spans on a loopback port, and forget them."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()

"""`whaul get`: one process for a batch of media ids. Its start is measured with one file, and taken off.

A batch cannot be stopped by the clock, so it has a fixed number of files. This driver is not measured.
"""

import json
import resource
import subprocess
import sys
import time

from race import WARM_UP_KIND, Job, job


def main(asked: Job) -> None:
    """Move files."""
    options = asked.options or {}
    line = [*options["command"], "get", "--phone-number-id", options["phone_number_id"]]
    line += ["--to", f"s3://{asked.bucket}/inbound_", "--from-file", "-", "--force"]
    line += ["--concurrency", str(asked.concurrency)]

    def get(ids: list[str]) -> tuple[float, float]:
        """Seconds by the clock, and of CPU."""
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(line, input="\n".join(ids) + "\n", capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip() or f"exit code {done.returncode}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.monotonic() - started, cpu

    starts = [get([asked.media_id(9_000_000 + number, WARM_UP_KIND)]) for number in range(2)]
    start_seconds, start_cpu = min(seconds for seconds, _ in starts), min(cpu for _, cpu in starts)
    ids = [asked.media_id(number) for number in range(options["files"])]
    sizes = options["sizes"]
    print("ready", flush=True)
    sys.stdin.readline()
    seconds, _ = get(ids)
    document = {
        "files": len(ids),
        "bytes": sum(sizes[asked.kinds[number % len(asked.kinds)]] for number in range(len(ids))),
        "warm_files": 2,
        "warm_bytes": 2 * sizes[WARM_UP_KIND],
        "seconds": max(seconds - start_seconds, 0.001),
        "start_cpu": start_cpu,
        "p50_ms": None,
        "p99_ms": None,
    }
    print(json.dumps(document), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(job())

"""`rclone copyurl`, a process for each file. It hashes nothing, since its source states no hash that it knows.

This driver asks for the descriptions; only the rclones are measured.
"""

import http.client
import json
import os
import ssl
import subprocess
from urllib.parse import urlsplit

from race import Job, job, with_threads


def main(asked: Job) -> None:
    """Move files."""
    context = ssl.create_default_context(cafile=asked.ca_file)
    options = asked.options or {}
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": asked.url,
        "REGION": asked.region,
        "ACCESS_KEY_ID": "bench",
        "SECRET_ACCESS_KEY": "bench-secret",
        "NO_CHECK_BUCKET": "true",
        "NO_HEAD": "true",
        "DISABLE_CHECKSUM": "true",
    }
    environ = os.environ | {f"RCLONE_CONFIG_SINK_{name}": value for name, value in remote.items()}
    environ |= {"RCLONE_CONFIG": os.devnull}

    def worker():
        graph = http.client.HTTPSConnection(urlsplit(asked.url).netloc, context=context, timeout=60)
        bearer = f"Authorization: Bearer {asked.token}"

        def move(media_id: str) -> int:
            graph.request("GET", f"/{asked.graph}/{media_id}", headers=dict([bearer.split(": ")]))
            media = json.loads(graph.getresponse().read())
            target = f"sink:{asked.bucket}/inbound_{media_id}"
            line = [options["rclone"], "copyurl", media["url"], target, "--ca-cert", asked.ca_file]
            line += ["--header", bearer, "--retries", "1", "--log-level", "ERROR"]
            done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise ValueError(done.stderr.strip())
            return media["file_size"]

        return move

    with_threads(asked, worker)


if __name__ == "__main__":
    main(job())

"""`curl | curl -T -`: the reference for bytes moved. It hashes and signs nothing.

This driver asks for the descriptions; only the two curls of each file are measured.
"""

import http.client
import json
import ssl
import subprocess
from urllib.parse import urlsplit

from race import Job, job, with_threads


def main(asked: Job) -> None:
    """Move files."""
    context = ssl.create_default_context(cafile=asked.ca_file)

    def worker():
        graph = http.client.HTTPSConnection(urlsplit(asked.url).netloc, context=context, timeout=60)
        bearer = f"Authorization: Bearer {asked.token}"
        common = ["curl", "--silent", "--show-error", "--fail", "--cacert", asked.ca_file, "--max-time", "300"]

        def move(media_id: str) -> int:
            graph.request("GET", f"/{asked.graph}/{media_id}", headers=dict([bearer.split(": ")]))
            media = json.loads(graph.getresponse().read())
            upload = [*common, "--upload-file", "-", "--header", f"Content-Type: {media['mime_type']}"]
            # With its length, as S3 demands; without, curl would send it in chunks.
            upload += ["--header", f"Content-Length: {media['file_size']}", "--header", "Transfer-Encoding:"]
            download = subprocess.Popen([*common, "--header", bearer, media["url"]], stdout=subprocess.PIPE)
            key = f"{asked.url}/{asked.bucket}/inbound_{media_id}"
            done = subprocess.run([*upload, key], stdin=download.stdout, stdout=subprocess.DEVNULL, check=False)
            download.stdout.close()
            if download.wait() or done.returncode:
                raise ValueError(f"curl ended with {download.returncode}, curl -T - with {done.returncode}")
            return media["file_size"]

        return move

    with_threads(asked, worker)


if __name__ == "__main__":
    main(job())

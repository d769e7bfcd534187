"""What listing a bucket costs in which nothing changed: `python -m benchmarks.s3_listing [N]`.

The pages are made beforehand and served from this process, so that what is timed is the client, the
listing frame and, for the wall clock, a server that only sends bytes.
"""

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from rag_assets.config import FilesConfig, S3Config
from rag_assets.sources import open_source
from rag_assets.sources.collect import list_source

PAGE = 1000


def page(start: int, objects: int) -> bytes:
    end = min(start + PAGE, objects)
    contents = "".join(
        f"<Contents><Key>kb/{n // 1000:04d}/{n:08d}.md</Key><Size>{n}</Size>"
        f'<LastModified>2026-05-01T10:00:00.000Z</LastModified><ETag>"{n:032x}"</ETag></Contents>'
        for n in range(start, end)
    )
    token = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < objects else ""
    more = str(end < objects).lower()
    return (
        f"<ListBucketResult><Name>docs</Name><IsTruncated>{more}</IsTruncated>{token}{contents}"
        "</ListBucketResult>"
    ).encode()


def main(objects: int) -> None:
    pages = {start: page(start, objects) for start in range(0, objects, PAGE)}

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            body = pages[int(query.get("continuation-token", ["0"])[0])]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    s3 = S3Config(
        endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    config = FilesConfig(name="s", type="files", path="s3://docs/kb", s3=s3)
    wall, cpu = time.perf_counter(), time.process_time()
    frame = list_source(config, open_source(config))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    load = os.getloadavg()[0]
    print(f"{frame.height:,} objects: {wall:.1f} s wall, {cpu:.1f} s CPU, load {load:.0f}")
    server.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100_000)

"""What a storage in S3 costs: python -m benchmarks.s3_storage [DOCUMENTS]

An S3 server (moto) in a process of its own on the loopback; a refresh of all documents, of one in a
hundred edited, and a reader on a working directory of its own. Counted are requests that put
objects, and their bytes.
"""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from rag_assets.mirror import INDEX, Bucket, Mirror, mirror_of
from rag_assets_tests.conftest import SmallBase
from rag_assets_tests.sources import moto_server

_WORDS = "invoice approval desk office laptop travel budget holiday contract delivery team".split()


def document(number: int, edition: int = 0) -> str:
    """Four paragraphs that no other document has."""
    parts = [f"# Subject {number}\n"]
    for part in range(4):
        words = " ".join(_WORDS[(number * 7 + part * 3 + at) % 11] for at in range(60))
        mark = f" Edition {edition}." if part == 1 else ""
        parts.append(f"## Rule {number}-{part}\n\nRule {number * 31 + part}: {words}.{mark}\n")
    return "\n".join(parts)


@contextmanager
def s3():
    """The address of a server in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def counted() -> Counter:
    """Counts what is put and got from now on, by what it is of."""
    found: Counter = Counter()
    put_part, put, put_if, part = Bucket.put_part, Bucket.put, Bucket.put_if, Bucket.part

    def putting_part(self, name, data):
        found["parts put"] += 1
        found["bytes put"] += len(data)
        return put_part(self, name, data)

    def putting(self, path, data):
        found["puts"] += 1
        return put(self, path, data)

    def putting_if(self, path, data, etag):
        found["puts"] += 1
        return put_if(self, path, data, etag)

    def getting(self, name):
        data = part(self, name)
        found["parts got"] += 1
        found["bytes got"] += len(data)
        return data

    Bucket.put_part, Bucket.put, Bucket.put_if, Bucket.part = (
        putting_part,
        putting,
        putting_if,
        getting,
    )
    push = Mirror.push

    def pushing(self):
        started = time.perf_counter()
        try:
            return push(self)
        finally:
            found["seconds of publishing"] += time.perf_counter() - started

    Mirror.push = pushing
    return found


def said(what: str, seconds: float, found: Counter, root: Path) -> None:
    """Print one line, and begin to count anew."""
    held = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    print(f"{what}: {seconds:.1f} s; {held / 1e6:.1f} MB in the working directory")
    for name, value in sorted(found.items()):
        print(f"    {name}: {value:,.1f}" if isinstance(value, float) else f"    {name}: {value:,}")
    found.clear()


def measure(count: int) -> None:
    """Print what each step took."""
    with s3() as url, tempfile.TemporaryDirectory() as folder:
        moto_server.client("s3", url).create_bucket(Bucket="storage")
        base, found = SmallBase(Path(folder) / "kb"), counted()

        def on(name: str):
            return base.configure(
                storage="s3://storage/kb",
                working_directory=f"./{name}",
                s3=moto_server.settings(url),
                chunking={"default": {"size": 256, "overlap": 0}},
            )

        def timed(what: str, name: str, work) -> None:
            started = time.perf_counter()
            work()
            said(what, time.perf_counter() - started, found, base.root / name)

        for number in range(count):
            base.write(f"{number:06d}.md", document(number))
        on("pipeline")
        timed(f"{count} documents, first refresh", "pipeline", base.refresh)
        reader = mirror_of(on("reader"))
        timed("reader, first pull", "reader", lambda: reader.pull(INDEX))
        on("pipeline")
        timed("nothing changed", "pipeline", base.refresh)
        for number in range(0, count, 100):
            base.write(f"{number:06d}.md", document(number, 1))
        timed(f"{len(range(0, count, 100))} edited", "pipeline", base.refresh)
        timed("reader, pull of the edits", "reader", lambda: reader.pull(INDEX))
        for number in range(50, count, 100):
            base.write(f"{number:06d}.md", document(number, 2))
        on("another machine")
        timed("edits refreshed by another machine", "another machine", base.refresh)
        base.close()


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

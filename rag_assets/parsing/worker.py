"""The child process of the pool.

Requests come on standard input, answers go to standard output, each a frame: its length as eight
bytes, big-endian, then JSON. Results are data, never pickles, so that a parser that a hostile file
has taken over cannot make the parent run code.
"""

import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from rag_assets.parsing.base import Heading, Page, Parsed, Problem, Unparseable

_LENGTH_BYTES = 8
# Seconds that the parent has to kill an overdue child before the child's own alarm does.
_GRACE = 5


def main() -> None:
    """Answer requests until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the parent's log, not into the answers
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        request = read_frame(requests)
        if request is None:
            return
        # Ends a child whose parent was killed, whatever library it hangs in.
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
        answer = _answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_frame(answers, answer)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from rag_assets.parsing.registry import parse

    try:
        return to_json(parse(Path(request["path"]).read_bytes(), request["name"]))
    except Unparseable as error:
        return {"reason": error.reason, "message": error.message}
    except MemoryError:
        return {"reason": "out_of_memory", "message": "it needs more memory than a document may"}
    except OSError as error:
        return {"reason": "unreadable", "message": str(error)}


def read_frame(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next frame, None at the end of the stream."""
    header = stream.read(_LENGTH_BYTES)
    if len(header) < _LENGTH_BYTES:
        return None
    frame: dict[str, Any] = json.loads(stream.read(int.from_bytes(header, "big")))
    return frame


def write_frame(stream: IO[bytes], value: dict[str, Any]) -> None:
    """Write one frame and flush it."""
    frame = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
    stream.write(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame)
    stream.flush()


def to_json(parsed: Parsed) -> dict[str, Any]:
    """A result as JSON can hold it."""
    value = asdict(parsed)
    value["headings"] = [[h.start, h.level, h.title] for h in parsed.headings]
    value["pages"] = [[p.start, p.number] for p in parsed.pages]
    return value


def from_json(value: dict[str, Any], seconds: float) -> Parsed | Problem:
    """A result that a child wrote."""
    if "reason" in value:
        return Problem(value["reason"], value["message"], seconds)
    return Parsed(
        text=value["text"],
        title=value["title"],
        media_type=value["media_type"],
        headings=tuple(Heading(*heading) for heading in value["headings"]),
        pages=tuple(Page(*page) for page in value["pages"]),
        metadata=value["metadata"],
    )

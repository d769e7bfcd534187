"""Pushes into an inbox as a service does, by a process that may be killed; arguments: PATH FROM.

Requests come as lines of JSON; the number of each is printed when it is acknowledged.
"""

import json
import sys

from rag_assets.errors import BadRequest
from rag_assets.sources.inbox import Inbox


def main(path, requests, first):
    inbox = Inbox(path, "s")
    with open(requests, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number < int(first):
                continue
            key, text = json.loads(line)
            try:
                if text is None:
                    inbox.delete(key)
                else:
                    inbox.put(key, text.encode())
            except BadRequest:
                print(f"{number} refused", flush=True)
            else:
                print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

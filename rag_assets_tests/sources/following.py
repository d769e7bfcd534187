"""One look at a table, by a process that kills itself at a step; arguments: URL PATH STEP COUNT,
and the `s3:` section in JSON where the storage is in a bucket.
"""

import sys

from rag_assets.config import PostgresCdcConfig
from rag_assets.sources.kept import Kept
from rag_assets.sources.postgres_cdc import PostgresCdcSource
from rag_assets_tests.sources.draining import JOURNAL_STEPS, carried, dies_after


def main(url, path, step, count, s3=""):
    places = JOURNAL_STEPS | {
        "looked": (PostgresCdcSource, "_rows", False),
        "before commit": (Kept, "apply", True),
        "committed": (Kept, "apply", False),
        "advanced": (PostgresCdcSource, "_advance", False),
    }
    if step in places:
        owner, name, before = places[step]
        dies_after(owner, name, int(count), before=before)
    config = PostgresCdcConfig(
        name="c", type="postgres_cdc", url=url, table="notes", text="body", path=path, batch=50
    )
    print(sum(1 for _ in PostgresCdcSource(carried(config, path, s3)).scan()))


if __name__ == "__main__":
    main(*sys.argv[1:])

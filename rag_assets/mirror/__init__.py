"""Storage in an object store: a working directory here, and there what it holds, published whole.

A refresh pulls the newest state, works on local files as always, and publishes what it left behind:
parts of files first, then the listing, then HEAD.json, on the condition that nobody else published
meanwhile. Readers pull the index alone. The pointer to the live version is the last file to be
replaced, so that a reader never sees one whose version is not here.
"""

from rag_assets.mirror.bucket import Bucket
from rag_assets.mirror.following import Follower
from rag_assets.mirror.mirror import Mirror, mirror_of, published
from rag_assets.mirror.working import INDEX, PUBLISHED

__all__ = ["INDEX", "PUBLISHED", "Bucket", "Follower", "Mirror", "mirror_of", "published"]

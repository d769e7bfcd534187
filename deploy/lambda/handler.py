"""AWS Lambda: search a knowledge base whose storage is in S3, without a server that stays up.

The image is rag-assets' own with `pip install awslambdaric`; its command is
`python -m awslambdaric handler.search`. The configuration names `storage: s3://…` and
`working_directory: /tmp/kb`. The function needs 2 GB of memory, an ephemeral disk of twice the
index, and `RAG_MODEL_CACHE=/tmp/models`. Only an authorizer says which groups the caller is in.
"""

from functools import cache
from typing import Any

from rag_assets import KnowledgeBase


@cache
def _knowledge_base() -> KnowledgeBase:
    """Opened by the first request of an environment, kept for the next; $RAG_CONFIG says which."""
    return KnowledgeBase.open()


def search(event: dict[str, Any], context: object = None) -> dict[str, Any]:
    """The passages for `event["query"]`, with the index version that they come from."""
    groups = event.get("requestContext", {}).get("authorizer", {}).get("groups", "")
    hits = _knowledge_base().search(
        event["query"],
        k=int(event.get("k", 5)),
        groups=[group for group in groups.split(",") if group],
    )
    return {
        "index_version": hits.index_version,
        "hits": [{"doc_id": hit.doc_id, "score": hit.score, "text": hit.text} for hit in hits],
    }

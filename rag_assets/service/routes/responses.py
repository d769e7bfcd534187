"""What /docs says of refusals: which an endpoint may give, all in the one shape."""

from typing import Any

from rag_assets.service.schemas import ErrorOut

_MEANING = {
    400: "The body is not JSON",
    401: "No key, or one that does not hold",
    403: "Not allowed to this principal",
    404: "No knowledge base, version, source or document of this name",
    409: "Index and configuration do not belong together, or this source cannot be pushed to",
    413: "The body is too large",
    415: "The body is of another media type",
    422: "The request does not hold",
    429: "A rate limit, quota or budget is used up; see Retry-After",
    502: "The language model failed",
    503: "There is no live index, or something the service needs is unreachable",
    504: "It took too long",
}
_ALWAYS = (400, 401, 403, 413, 422, 429, 504)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint under /v1: those that any may give, and these."""
    every = sorted({*_ALWAYS, *statuses})
    return {status: {"model": ErrorOut, "description": _MEANING[status]} for status in every}

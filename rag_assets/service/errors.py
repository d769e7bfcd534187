"""Every refusal in one JSON shape: `{"error": {"type", "message", "param", "code"}}`.

Shape and `type` words are those of the OpenAI API, so that its SDKs raise their own classes.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from rag_assets.errors import RagError

log = logging.getLogger(__name__)

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limit_exceeded",
    504: "timeout",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that is not the one hoped for.

    found: what the caller sent instead, repeated to the caller only: it may be a question, which
    logs and traces may not keep.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    found: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object."""
        kind = _TYPES.get(self.status)
        if kind is None:
            kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "type": kind,
                "message": self.message + self.found,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """The HTTP response; in ASCII, since what it repeats may not be valid Unicode."""
        body = json.dumps(self.body).encode()
        return Response(body, self.status, dict(self.headers), "application/json")


class Refused(Exception):
    """Raised anywhere in the service to answer with this refusal."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, message, code or _CODES[status], param, headers or {})


def refusal_of(error: BaseException) -> Refusal:
    """What to answer when this was raised. What we did not raise on purpose is logged, not told."""
    if isinstance(error, Refused):
        return error.refusal
    if isinstance(error, RagError):
        code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
        return Refusal(error.http_status, str(error), code)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, Refused):  # raised while FastAPI read the body
            return error.__cause__.refusal
        code = _CODES.get(error.status_code, "error")
        if error.status_code == 400:  # what FastAPI says of bytes that json cannot read
            message = "the body cannot be read: expected JSON in UTF-8, and not nested without end"
            return Refusal(400, message, "invalid_json")
        message = error.detail if error.status_code != 404 else "there is nothing at this path"
        return Refusal(error.status_code, str(message), code, headers=error.headers or {})
    if isinstance(error, TimeoutError):
        return Refusal(504, "the request took longer than service.limits.seconds", "timeout")
    log.error("a request failed", exc_info=error)
    return Refusal(500, "an unexpected error; the service's log says more", "internal_error")


def _invalid(error: RequestValidationError) -> Refusal:
    """The first thing wrong with a request, by the key it stands under."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    # `loc` begins with where the value stood: body, path or query.
    param = ".".join(place[1:]) or None
    found = first.get("input")
    shown = "" if isinstance(found, dict | list) or found is None else f", found {found!r:.80}"
    if first["type"] == "json_invalid":
        return Refusal(400, "the body is not JSON", "invalid_json")
    if first["type"] == "extra_forbidden":
        return Refusal(422, f"{param}: unknown field", "unknown_field", param)
    message = first["msg"].removeprefix("Value error, ")
    if first.get("ctx", {}).get("pattern") == r"\S":
        message = "expected a text that is not empty"
    told = f"{param or 'body'}: {message}"
    return Refusal(422, told, "invalid_request", param, found=shown)


def _allowed(app: FastAPI, request: Request, known: Mapping[str, str]) -> Mapping[str, str]:
    """Every method of a path; a router knows those of the first route that matches."""
    for template, operations in app.openapi()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(template))
        if re.fullmatch(pattern, request.url.path):
            return {**known, "Allow": ", ".join(sorted(method.upper() for method in operations))}
    return known


def install(app: FastAPI) -> None:
    """Answer every error of the application in the one shape."""

    async def answer(request: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if refusal.status == 405:
            refusal = replace(refusal, headers=_allowed(app, request, refusal.headers))
        request.state.record.error = refusal.message
        return refusal.response()

    for kind in (Refused, RagError, RequestValidationError, HTTPException, TimeoutError):
        app.add_exception_handler(kind, answer)

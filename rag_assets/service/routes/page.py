"""GET / and /docs: pages in one file each, which may load nothing from anywhere else."""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)


class Page:
    """A self-contained page and the policy by which a browser runs exactly what is in it."""

    def __init__(self, name: str) -> None:
        html = (files("rag_assets.service") / "pages" / name).read_text(encoding="utf-8")
        self._body = html.encode()
        self._headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": "; ".join(
                [
                    "default-src 'none'",
                    f"script-src {_hashes(html, 'script')}",
                    f"style-src {_hashes(html, 'style')}",
                    "connect-src 'self'",
                    "img-src data:",
                    "base-uri 'none'",
                    "form-action 'none'",
                    "frame-ancestors 'none'",
                ]
            ),
        }

    def response(self) -> Response:
        """The page."""
        return HTMLResponse(self._body, headers=self._headers)


def _hashes(html: str, tag: str) -> str:
    """The sources that the policy allows for a tag: what stands in the page, and nothing else."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = [hashlib.sha256(text.encode()).digest() for text in found]
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


_ASK, _DOCS = Page("ask.html"), Page("docs.html")


@router.get("/")
async def ask() -> Response:
    """The page to ask and to see the passages."""
    return _ASK.response()


@router.get("/docs")
async def docs() -> Response:
    """The API for people."""
    return _DOCS.response()

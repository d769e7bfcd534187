"""Any HTTP endpoint: a POST of the event as JSON."""

import hashlib
import hmac
import json
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rag_assets.config import WebhookConfig
from rag_assets.notify.base import Message, Undelivered

_TIMEOUT = 5.0


class WebhookChannel:
    """The event as it is, for programs."""

    name = "webhook"

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config

    def send(self, message: Message) -> None:
        """Deliver one message. Raises: Undelivered."""
        body = json.dumps(message.as_json(), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **self._config.headers}
        headers["Idempotency-Key"] = message.id
        if self._config.secret:
            digest = hmac.new(self._config.secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Rag-Signature"] = f"sha256={digest}"
        request = Request(self._config.url or "", body, headers, method="POST")
        try:
            with urlopen(request, timeout=_TIMEOUT):
                return
        except HTTPError as error:
            passing = error.code in {408, 425, 429} or error.code >= 500
            raise Undelivered(f"webhook: answered {error.code}", passing=passing) from error
        except (URLError, HTTPException, OSError) as error:
            raise Undelivered(f"webhook: {error}", passing=True) from error

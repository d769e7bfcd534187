"""A headless Chromium driven over its DevTools protocol: enough to use a page as a person does."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

INSTALL = "apt-get install -y chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]
KEYS = {"Escape": 27, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}


def chromium() -> str | None:
    """Where Chromium is, if it is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Browser:
    """One running Chromium with one page."""

    def __init__(self, profile: Path) -> None:
        command = [str(chromium()), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        address = self._announced()
        self._socket: ClientConnection = connect(address, max_size=None)
        self._last = 0
        self.problems: list[str] = []
        targets = self._send("Target.getTargets")["targetInfos"]
        [page] = [target for target in targets if target["type"] == "page"]
        found = self._send("Target.attachToTarget", {"targetId": page["targetId"], "flatten": True})
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def _announced(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "DevTools listening on " in line:
                return line.split("DevTools listening on ")[1].strip()
        raise RuntimeError("Chromium ended before it listened")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the page."""
        return self._send(method, parameters, self._session)

    def _send(
        self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters or {}}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            reply = json.loads(self._socket.recv(timeout=60))
            self._note(reply)
            if reply.get("id") == self._last:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']['message']}")
                return dict(reply["result"])

    def _note(self, reply: dict[str, Any]) -> None:
        """Keep what the page complains of: scripts that fail, and whatever the policy blocks."""
        method, details = reply.get("method"), reply.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(details["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and details["entry"]["source"] != "network":
            self.problems.append(details["entry"]["text"])

    def goto(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith('{url}')")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]["exception"])[:500])
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait, in the page, until an expression is true."""
        try:
            self.run(
                "new Promise((met, not) => { const by = Date.now() + 30000; const look = () => {"
                f" let found = false; try {{ found = {condition}; }} catch (e) {{ found = false; }}"
                " if (found) met(true); else if (Date.now() > by) not(new Error('waited in vain'));"
                " else setTimeout(look, 20); }; look(); })"
            )
        except RuntimeError as error:
            if "navigated" not in str(error) and "context was destroyed" not in str(error):
                raise RuntimeError(f"{condition}: {error}; {self.text('body')[:500]}") from error
            self.until(condition)

    def until_told(self, words: str) -> None:
        """Wait until the page complains of something in these words."""
        for _ in range(1500):
            if any(words in problem for problem in self.problems):
                return
            self.run("new Promise((later) => setTimeout(later, 20))")
        raise RuntimeError(f"no problem with {words!r} in {self.problems}")

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def count(self, selector: str) -> int:
        """How many elements match."""
        return int(self.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def visible(self, selector: str) -> bool:
        """Whether an element is there and can be seen."""
        script = f"!!document.querySelector({json.dumps(selector)})?.checkVisibility()"
        return bool(self.run(script))

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element."""
        self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect();"
            " return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def type(self, text: str) -> None:
        """Insert text where the focus is."""
        self.send("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release one key."""
        code = KEYS.get(key, ord(key[0].upper()))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size, and the touch screen of a phone."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, scheme: str) -> None:
        """Make the system light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        """A picture of what can be seen."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.communicate()

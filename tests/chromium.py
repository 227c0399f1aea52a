"""A real browser, driven over its debugging protocol; just what the tests need of it."""

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
START_TIMEOUT_S: Final = 60.0
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-site-isolation-trials", "--remote-debugging-port=0",
    "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip

# Code and Windows' number of a key, by its name.
KEYS: Final = {
    "Enter": ("Enter", 13), "Escape": ("Escape", 27), " ": ("Space", 32), "Tab": ("Tab", 9),
    "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39),
}  # fmt: skip


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []  # of the domains that were enabled

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self._connection.send(msgspec.json.encode(message).decode())
        while True:
            answer = msgspec.json.decode(await self._connection.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer:
                self.events.append(answer)

    async def open(self, url: str) -> None:
        """Go there, and wait until the document is loaded."""
        await self.call("Page.navigate", url=url)
        while await self.run("document.readyState") != "complete":
            await asyncio.sleep(0.05)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str, timeout_s: float = 30.0) -> Any:
        """The value of an expression, once it is true."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (value := await self.run(condition)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never true: {condition}") from None
        return value

    async def look(self, scheme: str, width: int, height: int = 900) -> None:
        """Show pages in a color scheme, `light` or `dark`, at a size in CSS pixels."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[feature])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def press(self, key: str, *, text: str = "", modifiers: int = 0) -> None:
        """Press and release a key; `modifiers` 2 is Ctrl, 8 is Shift."""
        code, number = KEYS[key]
        pressed = {"key": key, "code": code, "windowsVirtualKeyCode": number, "text": text}
        kind = "keyDown" if text else "rawKeyDown"
        await self.call("Input.dispatchKeyEvent", type=kind, modifiers=modifiers, **pressed)
        await self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **pressed)

    async def type(self, text: str) -> None:
        """Type into what has the focus, character by character."""
        for char in text:
            await self.call("Input.insertText", text=char)

    async def screenshot(self, *, full: bool = True) -> bytes:
        """What the page looks like, as PNG."""
        taken = await self.call("Page.captureScreenshot", captureBeyondViewport=full)
        return base64.b64decode(taken["data"])


@asynccontextmanager
async def browser(*flags: str) -> AsyncIterator[Page]:
    """A new browser with one tab."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _debugging_port(Path(profile) / "DevToolsActivePort")
            async with connect(await _tab(port), max_size=None, proxy=None) as connection:
                yield Page(connection)
        finally:
            process.kill()
            await process.wait()


async def _debugging_port(path: Path) -> int:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not (lines := _lines(path)):
            await asyncio.sleep(0.05)
    return int(lines[0])


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def _tab(port: int) -> str:
    """Address of the first tab's socket."""
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        tabs = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
    return str(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])

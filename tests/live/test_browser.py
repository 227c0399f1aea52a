"""What a real browser lets pages do with the server: its own all, those of others nothing."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.chromium import CHROMIUM, Page, browser
from tests.serving import ServerProcess, server_process, wait_for_status

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed"),
]

KEY: Final = "sk-soprano-0123456789abcdef"
NAME: Final = "speech.example.org"
EVIL: Final = "evil.example"
RESOLVED: Final = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP {EVIL} 127.0.0.1"
FILE: Final = "/v1/audio/files/speech_000001.mp3"
SPOKEN_IN_S: Final = 30.0

ATTACKS: Final = """
(async (server) => {
  const socket = server.replace("http", "ws") + "/v1/audio/speech/stream";
  const file = server + "FILE", speech = server + "/v1/audio/speech";
  const json = JSON.stringify({ input: "Spoken for a stranger.", store: true });
  const read = async (path, options) => (await (await fetch(server + path, options)).text()).length;
  const loaded = (tag, event, source) => new Promise((resolve) => {
    const element = document.createElement(tag);
    element.addEventListener(event, () => resolve("LOADED"));
    element.addEventListener("error", () => resolve("failed"));
    element.src = source;
    document.body.append(element);
  });
  const opened = () => new Promise((resolve) => {
    const connection = new WebSocket(socket);
    connection.onopen = () => resolve("OPENED");
    connection.onerror = () => resolve("failed");
  });
  const submitted = (path, type, text) => new Promise((resolve) => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    frame.name = "target" + Math.random();
    Object.assign(form, { method: "POST", action: server + path, enctype: type });
    form.target = frame.name;
    const field = document.createElement("input");
    [field.name, field.value] = [text.slice(0, -1), text.slice(-1)];
    form.append(field);
    document.body.append(frame, form);
    frame.addEventListener("load", () => resolve("sent"));
    form.submit();
  });
  const attempts = {
    list: () => read("/v1/audio/files"),
    metrics: () => read("/metrics"),
    captions: () => read("FILE/captions.vtt"),
    speak: () => read("/v1/audio/speech", { method: "POST", body: json,
      headers: { "content-type": "application/json" } }),
    remove: () => read("FILE", { method: "DELETE" }),
    play: () => loaded("audio", "loadedmetadata", file),
    video: () => loaded("video", "loadedmetadata", file),
    script: () => loaded("script", "load", server + "/v1/audio/files"),
    socket: opened,
  };
  const unread = {
    simple: () => fetch(speech, { method: "POST", mode: "no-cors", body: json }),
    beacon: async () => navigator.sendBeacon(speech, json),
    plain: () => submitted("/v1/audio/speech", "text/plain", json + "="),
    form: () => submitted("/v1/audio/speech", "application/x-www-form-urlencoded", json),
    opaque: () => fetch(file, { mode: "no-cors" }),
  };
  const outcome = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    outcome[name] = await attempt().catch(() => "failed");
  }
  for (const attempt of Object.values(unread)) await attempt().catch(() => null);
  const frame = document.createElement("iframe");
  frame.src = server + "/";
  await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame); });
  return outcome;
})
""".replace("FILE", FILE)
"""What a page of somebody else tries. Each attempt either fails or says in capitals, or with a
length, that it did not."""

SPEAK: Final = """
(async () => {
  const until = async (condition) => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await until(() => document.getElementById("server").dataset.state === "ready");
  document.getElementById("key").value = "KEY";
  document.getElementById("text").value = "Spoken by the page.";
  document.getElementById("form").requestSubmit();
  await until(() => document.body.innerText.includes("complete after"));
  await until(() => document.getElementById("audio").currentTime > 0.5);
  return document.getElementById("audio").currentTime;
})()
"""


@pytest.fixture
def page_of_others(tmp_path: Path) -> Iterator[int]:
    """Port of a server of plain pages."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.html").write_text("<!doctype html><title>Evil</title><body></body>")
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "pages"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser(RESOLVED) as page:
        yield page


def server_with_a_file(tmp_path: Path, **environ: str) -> Any:
    directory = {"SOPRANO_STORE__DIRECTORY": str(tmp_path / "store")}
    return server_process(
        tmp_path / "log", "--backend", "embedded", environ={**directory, **environ}
    )


def keep_a_file(server: ServerProcess) -> None:
    wait_for_status(f"{server.url}/health/ready")
    body = {"input": "Private words.", "store": True}
    kept = httpx.post(f"{server.url}/v1/audio/speech", json=body)
    assert kept.url.join(kept.headers["content-location"]).path == FILE


def names_of_files(server: ServerProcess) -> list[str]:
    return [file["id"] for file in httpx.get(f"{server.url}/v1/audio/files").json()["data"]]


@pytest.mark.parametrize("host", ["localhost", EVIL, "127.0.0.1"])
async def test_a_page_of_another_origin_can_neither_read_play_delete_nor_speak(
    host: str, tmp_path: Path, page: Page, page_of_others: int
) -> None:
    with server_with_a_file(tmp_path) as server:
        keep_a_file(server)
        await page.open(f"http://{host}:{page_of_others}/")
        outcome = await page.run(f"{ATTACKS}('{server.url}')")
        assert set(outcome.values()) == {"failed"}, outcome
        frames = (await page.call("Page.getFrameTree"))["frameTree"]["childFrames"]
        assert frames[-1]["frame"]["url"].startswith("chrome-error:")
        assert names_of_files(server) == ["speech_000001.mp3"]
        assert len(server.log_events(event="speech.ended")) == 1


async def test_a_name_of_a_stranger_that_resolves_to_this_machine_is_not_answered(
    tmp_path: Path, page: Page
) -> None:
    with server_with_a_file(tmp_path) as server:
        keep_a_file(server)
        await page.open(f"http://{EVIL}:{server.port}/")
        assert "host_not_allowed" in await page.run("document.body.innerText")
        statuses = await page.run(
            f"Promise.all(['/', '/v1/audio/files', '{FILE}', '/metrics']"
            ".map(async (path) => (await fetch(path)).status))"
        )
        assert statuses == [421] * 4
        deleted = await page.run(f"fetch('{FILE}', {{method: 'DELETE'}}).then((a) => a.status)")
        assert deleted == 421
        opening = "new Promise((done) => { const socket = new WebSocket('ws://' + location.host +"
        opening += " '/v1/audio/speech/stream'); socket.onopen = () => done('OPENED');"
        opening += " socket.onerror = () => done('failed'); })"
        assert await page.run(opening) == "failed"


@pytest.mark.parametrize(
    ("host", "environ"),
    [
        ("127.0.0.1", {}),
        ("localhost", {}),
        ("127.0.0.1", {"SOPRANO_AUTH__KEYS": f"alice:{KEY}"}),
        (NAME, {"SOPRANO_SERVER__ALLOWED_HOSTS": NAME}),
        (NAME, {"SOPRANO_SERVER__ALLOWED_HOSTS": NAME, "SOPRANO_AUTH__KEYS": f"alice:{KEY}"}),
    ],
)
async def test_the_servers_own_page_speaks(
    host: str, environ: dict[str, str], tmp_path: Path, page: Page
) -> None:
    with server_with_a_file(tmp_path, **environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        await page.open(f"http://{host}:{server.port}/")
        key = KEY if "SOPRANO_AUTH__KEYS" in environ else ""
        async with asyncio.timeout(SPOKEN_IN_S):
            assert await page.run(SPEAK.replace("KEY", key)) > 0.5


TRY_IT: Final = """(async () => {
    const found = async (query, text = "") => {
        for (;;) {
            const all = [...document.querySelectorAll(query)];
            const match = all.find((one) => one.innerText.includes(text) && !one.disabled);
            if (match) return match;
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    };
    if ("KEY") {
        (await found(".auth-wrapper .authorize")).click();
        const input = await found(".modal-ux input");
        Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, "KEY");
        input.dispatchEvent(new Event("input", { bubbles: true }));
        (await found(".modal-ux button.authorize")).click();
        (await found(".modal-ux .btn-done")).click();
    }
    (await found("#operations-Speech-createSpeech button.opblock-summary-control")).click();
    (await found("#operations-Speech-createSpeech button.execute")).click();
    const row = await found("#operations-Speech-createSpeech .live-responses-table .response");
    return [
        row.querySelector(".response-col_status").innerText.trim().slice(0, 3),
        performance.getEntriesByType("resource").map((entry) => entry.name),
        violations,
    ];
})()"""


@pytest.mark.parametrize("key", ["", KEY])
async def test_the_api_reference_tries_requests_and_loads_nothing_from_elsewhere(
    key: str, tmp_path: Path, page: Page
) -> None:
    environ = {"SOPRANO_AUTH__KEYS": f"alice:{KEY}"} if key else {}
    with server_with_a_file(tmp_path, **environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        watch = (
            "var violations = []; document.addEventListener("
            "'securitypolicyviolation', (event) => violations.push(event.blockedURI))"
        )
        await page.call("Page.enable")
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=watch)
        await page.open(f"{server.url}/schema")
        async with asyncio.timeout(SPOKEN_IN_S):
            status, addresses, violations = await page.run(TRY_IT.replace("KEY", key))
        assert status == "200"
        assert violations == []
        own = [address for address in addresses if address.startswith(server.url)]
        elsewhere = [address for address in addresses if address not in own]
        assert [each for each in elsewhere if not each.startswith(("data:", "blob:"))] == []
        assert f"{server.url}/schema/openapi.json" in own

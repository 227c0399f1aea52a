"""The page at `/` in a real browser: each of its features, light and dark, on desks and phones."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
import pytest_asyncio

from tests.chromium import CHROMIUM, Page, browser
from tests.listening import decode_file
from tests.live.test_proxies import KEEPS_PATH, example, proxy
from tests.server_events import read_events
from tests.serving import ServerProcess, server_process, wait_for_status

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

KEY: Final = "sk-soprano-0123456789abcdef"
TEXT: Final = "The first sentence has seven words. The second one cost $5 on 12/25/2024."
LONG: Final = " ".join(f"This is sentence number {n}, and it is not the last." for n in range(70))
CTRL: Final = 2

LOOKS: Final = {
    "light, desk": ("light", 1280),
    "dark, desk": ("dark", 1280),
    "light, phone": ("light", 375),
    "dark, phone": ("dark", 375),
}

IS_PLAYING: Final = "!audio.paused && audio.currentTime > 0"
IS_COMPLETE: Final = "text('status').includes('complete after')"

# In every page: short names for what the tests look at, and a list of what a browser may object to.
SETUP: Final = """
var violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.blockedURI));
var $ = (id) => document.getElementById(id);
var text = (id) => $(id).innerText;
var said = () => document.querySelector("#words .said")?.innerText ?? "";
var all = (query) => [...document.querySelectorAll(query)];
document.addEventListener("DOMContentLoaded", () => { window.audio = $("audio"); });
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("page")
    environ = {"SOPRANO_STORE__DIRECTORY": str(directory / "store")}
    with server_process(directory / "log", "--backend", "embedded", environ=environ) as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with API keys."""
    directory = tmp_path_factory.mktemp("keyed")
    environ = {
        "SOPRANO_STORE__DIRECTORY": str(directory / "store"),
        "SOPRANO_AUTH__KEYS": f"alice:{KEY}",
    }
    with server_process(directory / "log", "--backend", "embedded", environ=environ) as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running


class Place(NamedTuple):
    """A server, and a key for it."""

    url: str
    key: str

    def request(self, method: str, path: str, **body: Any) -> httpx.Response:
        """The answer to a request with the key."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        answer = httpx.request(method, self.url + path, json=body or None, headers=headers)
        return answer.raise_for_status()


@pytest.fixture(params=["without keys", "with keys"])
def place(request: pytest.FixtureRequest, server: ServerProcess, keyed: ServerProcess) -> Place:
    if request.param == "with keys":
        return Place(keyed.url, KEY)
    return Place(server.url, "")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab() -> AsyncIterator[Page]:
    """One browser for all; its pages have a list of their own for what went wrong."""
    async with browser() as page:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=SETUP)
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def page(tab: Page) -> AsyncIterator[Page]:
    """The tab; nothing may be written to its console, or asked of another server."""
    tab.events.clear()
    await tab.look("light", 1280)
    yield tab
    assert faults(tab) == []
    assert await tab.run("violations") == []
    await tab.run("localStorage.clear()")


@pytest_asyncio.fixture(loop_scope="module", params=LOOKS)
async def looked(page: Page, request: pytest.FixtureRequest) -> Page:
    """The tab in one of the looks."""
    await page.look(*LOOKS[request.param])
    return page


def faults(page: Page) -> list[str]:
    """What the console has, and addresses elsewhere; a test takes out what it has caused."""
    found = []
    for event in page.events:
        parameters = event["params"]
        if event["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            found.append(json.dumps(parameters))
        elif event["method"] == "Log.entryAdded":
            entry = parameters["entry"]
            found.append(f"{entry['text']} {entry.get('url', '')}")
        elif event["method"] == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            found += [] if url.startswith(("http://127.0.0.1:", "blob:", "data:")) else [url]
    return found


def forget_rejections(page: Page) -> None:
    """The browser itself writes each answer with an error status to the console."""
    page.events[:] = [
        event
        for event in page.events
        if event["method"] != "Log.entryAdded"
        or not event["params"]["entry"]["text"].startswith("Failed to load resource")
    ]


async def visit(page: Page, url: str) -> None:
    await page.open(url)
    await page.until("window.$ && $('server').dataset.state === 'ready'")


async def visit_with_key(page: Page, place: Place) -> None:
    await visit(page, place.url)
    await page.run(f"$('key').value = {json.dumps(place.key)}")


async def click(page: Page, query: str) -> None:
    """With the mouse, as it takes a user's click for sound to be played."""
    box = await page.run(
        f"(() => {{ const node = all({json.dumps(query)})[0];"
        " node.scrollIntoView({block: 'center'});"
        " const {x, y, width, height} = node.getBoundingClientRect();"
        " return [x + width / 2, y + height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        await page.call(
            "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1
        )


async def write(page: Page, text: str) -> None:
    """Replace the text of the form."""
    await page.run(f"$('text').value = {json.dumps(text)}")
    await page.run("$('text').dispatchEvent(new Event('input', { bubbles: true }))")


async def hold(page: Page, part: str) -> None:
    """From now on requests wait in the list `held` if `part` is in their address or body."""
    await page.run(f"""(() => {{
        const send = window.fetch;
        window.held = [];
        window.fetch = async (url, options) => {{
            const isMeant = `${{url}} ${{options?.body ?? ""}}`.includes({json.dumps(part)});
            if (isMeant) await new Promise((go) => held.push(go));
            return send(url, options);
        }};
    }})()""")


async def wait_for_file(directory: Path, name: str) -> None:
    async with asyncio.timeout(30):
        while not (directory / name).exists():
            await asyncio.sleep(0.05)


async def speak(page: Page, text: str = TEXT) -> None:
    await write(page, text)
    await click(page, "#speak")
    await page.until(IS_COMPLETE)


async def choose(page: Page, name: str, value: str) -> None:
    await page.run(f"$('{name}').value = {json.dumps(value)}")
    await page.run(f"$('{name}').dispatchEvent(new Event('change', {{ bubbles: true }}))")


async def test_a_text_plays_while_it_is_made_and_its_words_are_marked(
    server: ServerProcess, looked: Page
) -> None:
    page = looked
    await visit(page, server.url)
    await write(page, LONG)
    await click(page, "#speak")
    is_estimated = "text('status').includes('receiving') && text('total').includes('about')"
    await page.until(f"{IS_PLAYING} && {is_estimated}")
    await page.until("['This', 'is', 'sentence', 'number'].includes(said())")
    await page.until("['0,', 'and', 'it'].includes(said())")
    await page.until(IS_COMPLETE, 60)
    assert "about" not in await page.run("text('total')")
    drawn = """(() => {
        const { width, height } = $("wave");
        const copy = Object.assign(document.createElement("canvas"), { width, height });
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage($("wave"), 0, 0);
        const pixels = context.getImageData(0, 0, width, height).data;
        const colors = new Set(), tall = [];
        for (let x = 0; x < width; x++) for (let y = 0, n = 0; y < height; y++) {
            const at = (y * width + x) * 4;
            if (pixels[at + 3] < 255) continue;
            colors.add(pixels.slice(at, at + 3).join());
            tall[x] = ++n;
        }
        return [colors.size, new Set(tall).size];
    })()"""
    await page.until(f"{drawn}[0] === 2")  # what was played, and what was not
    assert await page.run(f"{drawn}[1]") > 10
    await page.press("Escape")


async def test_playback_can_be_paused_sought_and_sped_up(
    server: ServerProcess, looked: Page
) -> None:
    page = looked
    await visit(page, server.url)
    await speak(page)
    await page.until(IS_PLAYING)
    await click(page, "#play")
    await page.until("audio.paused && $('play').getAttribute('aria-label') === 'Play'")
    paused_at = await page.run("audio.currentTime")
    await asyncio.sleep(0.3)
    assert await page.run("audio.currentTime") == paused_at
    total_s = await page.run("Number($('seek').max)")
    await page.run("$('seek').value = 4; $('seek').dispatchEvent(new Event('input'))")
    await page.until("!audio.seeking && Math.abs(audio.currentTime - 4) < 0.1")
    assert await page.run("said()") != ""
    await page.run("$('seek').focus()")
    await page.press("ArrowLeft")
    await page.until("audio.currentTime < 0.1")
    await page.press("ArrowRight")
    await page.until("Math.abs(audio.currentTime - 5) < 0.1")
    valuetext = await page.run("$('seek').getAttribute('aria-valuetext')")
    assert valuetext == f"0:05 of 0:{int(total_s):02}"
    await choose(page, "rate", "2×")
    await click(page, "#play")
    await page.until(IS_PLAYING)
    assert await page.run("[audio.playbackRate, audio.preservesPitch]") == [2, True]
    await page.until("audio.ended")
    await click(page, "#play")
    await page.until(f"{IS_PLAYING} && audio.currentTime < 3")
    assert await page.run("audio.playbackRate") == 2


async def test_the_words_follow_the_captions(server: ServerProcess, page: Page) -> None:
    await visit(page, server.url)
    await speak(page)
    body = {"input": TEXT, "stream_format": "sse", "captions": True}
    answer = Place(server.url, "").request("POST", "/v1/audio/speech", **body)
    events = read_events(answer.text)
    captions = [event for event in events if event["type"] == "speech.caption"]
    assert len(captions) == 2
    await click(page, "#play")
    for caption in captions:
        for share in (0.05, 0.95):
            time_s = caption["start"] + share * (caption["end"] - caption["start"])
            await page.run(f"audio.currentTime = {time_s}")
            await page.until(f"!audio.seeking && Math.abs(audio.currentTime - {time_s}) < 0.05")
            words = caption["text"].split()
            expected = words[0] if share < 0.5 else words[-1]
            await page.until(f"said() === {json.dumps(expected)}")
    await click(page, "#words span:nth-of-type(7)")  # the first word of the second sentence
    await page.until(f"Math.abs(audio.currentTime - {captions[1]['start']}) < 0.1")


async def test_a_recording_longer_than_the_browser_holds_can_be_sought_in(
    server: ServerProcess, page: Page
) -> None:
    await visit(page, server.url)
    await page.run("$('speed').value = 0.25")
    await write(page, LONG[:3_900])
    await click(page, "#speak")
    await page.until(IS_COMPLETE, 120)
    length_s = await page.run("Number($('seek').max)")
    assert length_s > 700
    for time_s in (length_s - 20, 0, 350, length_s - 3):
        await page.run(f"$('seek').value = {time_s}; $('seek').dispatchEvent(new Event('input'))")
        await page.until(f"!audio.seeking && audio.currentTime > {time_s + 0.5}")
        assert abs(await page.run("audio.currentTime") - time_s) < 5
    await page.until("audio.ended")
    num_s = await page.run("audio.currentTime")
    assert num_s == pytest.approx(length_s, abs=0.5)


async def test_a_browser_without_media_source_plays_the_complete_audio(
    server: ServerProcess, page: Page
) -> None:
    without = "delete window.MediaSource; delete window.ManagedMediaSource;"
    added = await page.call("Page.addScriptToEvaluateOnNewDocument", source=without)
    try:
        await visit(page, server.url)
        assert await page.run("typeof MediaSource") == "undefined"
        await speak(page)
        await page.until(f"{IS_PLAYING} && said()")
        await page.run("$('seek').value = 4; $('seek').dispatchEvent(new Event('input'))")
        await page.until("!audio.seeking && audio.currentTime >= 4")
        await speak(page, "Once more.")
        await page.until(f"{IS_PLAYING} && audio.currentTime < 3")
    finally:
        await page.call("Page.removeScriptToEvaluateOnNewDocument", **added)


async def test_a_request_in_progress_can_be_stopped(server: ServerProcess, page: Page) -> None:
    await visit(page, server.url)
    await write(page, LONG)
    await click(page, "#speak")
    await page.until(IS_PLAYING)
    await page.press("Escape")
    await page.until("audio.paused && text('status') === 'Stopped.'")
    assert not await page.run("$('play').disabled")  # what has arrived can be played
    assert await page.run("text('error')") == ""


async def test_everything_works_with_the_keyboard(server: ServerProcess, looked: Page) -> None:
    page = looked
    await visit(page, server.url)
    for _ in range(20):
        await page.press("Tab")
        if await page.run("document.activeElement.id") == "text":
            break
    await page.press("Enter", text="\r", modifiers=CTRL)
    await page.until(f"{IS_COMPLETE} && {IS_PLAYING}")
    order = []
    while (name := await page.run("document.activeElement.id")) != "words":
        order.append(name)
        await page.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.run(outline) != "none"
    assert order == [
        "text", "voice", "speed", "", "speak", "stop", "normalized", "open", "seek", "play",
        "rate", "format", "download",
    ]  # fmt: skip
    await page.press(" ", text=" ")  # on the words
    await page.until("audio.paused")
    await page.run("$('seek').focus()")
    await page.press(" ", text=" ")
    await page.until("!audio.paused")
    await page.run("$('play').focus()")
    await page.press(" ", text=" ")
    await page.until("audio.paused")
    await page.press(" ", text=" ")
    await page.until("!audio.paused")
    await page.press("Escape")
    await page.until("audio.paused")


async def test_live_typing_is_spoken_as_it_is_typed(place: Place, looked: Page) -> None:
    page = looked
    await visit_with_key(page, place)
    await click(page, "#live")
    assert await page.run("document.activeElement.id + $('text').value") == "text"
    await page.type("It costs $5. The next sen")
    await page.until(IS_PLAYING)
    assert await page.run("text('words')") == "It costs $5. The next "
    await page.until("text('words').endsWith('sen')")  # after a pause of the typist
    await page.until("audio.ended && audio.currentTime > Number($('seek').max) - 0.05")
    await page.run("""(() => {
        window.ended_at = audio.currentTime;
        window.times = [];
        audio.addEventListener("timeupdate", () => times.push(audio.currentTime));
    })()""")
    await page.type("tence goes on")
    await page.press("Enter", text="\r")
    await page.until("text('words').trim().endsWith('sentence goes on')")
    await page.until("['tence', 'goes', 'on'].includes(said())")
    await page.until("audio.currentTime > ended_at + 0.3")
    assert await page.run("Math.min(...times) > ended_at - 0.1")  # it goes on where it was
    await page.press("Escape")
    await page.until("audio.paused && text('status') === 'Stopped.'")
    await page.type("Again. And on ")
    await page.until(f"{IS_PLAYING} && text('words').startsWith('Again.')")
    await click(page, "#live")
    assert await page.run("$('text').value.startsWith('Dr. Soprano')")
    typed = await page.run("all('#history-list .excerpt').map((node) => node.innerText)")
    assert typed[0].startswith("Again.")
    assert typed[1].startswith("It costs $5. The next sentence")


async def test_words_from_an_input_method_are_spoken_once_they_are_chosen(
    server: ServerProcess, page: Page
) -> None:
    await visit(page, server.url)
    await click(page, "#live")
    for composed in ("nai", "naïve"):
        caret = len(composed)
        await page.call(
            "Input.imeSetComposition", text=composed, selectionStart=caret, selectionEnd=caret
        )
    assert await page.run("$('text').value + text('words')") == "naïve"
    await page.call("Input.insertText", text="naïve")
    await page.until("text('words') === 'naïve'")
    await page.until("audio.currentTime > 0")


async def test_a_websocket_that_breaks_is_noticed_and_replaced(
    server: ServerProcess, page: Page
) -> None:
    await visit(page, server.url)
    await page.run("""window.WebSocket = class extends WebSocket {
        constructor(...args) { super(...args); window.socket = this; }
    }; 0""")
    await click(page, "#live")
    await page.type("One. Two ")
    await page.until("audio.currentTime > 0")
    await page.run("socket.close(4000)")
    await page.until("text('error').startsWith('The connection broke')")
    assert await page.run("text('status')") == ""
    assert not await page.run("$('download').disabled")  # what has arrived
    await page.type("three. Four ")
    await page.until("text('words') === 'three. Four ' && text('error') === ''")
    await page.until("audio.currentTime > 0")
    await click(page, "#live")
    assert (await page.run("text('status')")).startswith("Ended: ")


async def test_live_typing_without_a_key_asks_for_one(keyed: ServerProcess, page: Page) -> None:
    await visit(page, keyed.url)
    await click(page, "#live")
    await page.type("Hello there. ")
    await page.until("!$('key-field').hidden && text('error').includes('API key')")
    page.events.clear()  # the browser writes of the connection that failed
    await visit(page, keyed.url)


async def test_what_of_an_edited_text_is_sent(server: ServerProcess, page: Page) -> None:
    await visit(page, server.url)
    steps = ["He", "Hello ", "Hello wor", "Hello world ", "Hello word ", "Hello ", "Hello you"]
    script = f"""import("/page/live.js").then(({{ Typed }}) => {{
        const typed = new Typed();
        const sent = {json.dumps(steps)}.map((step) => typed.next(step, false));
        return [...sent, typed.next("Hello you", true), typed.next("", true)];
    }})"""
    assert await page.run(script) == ["", "Hello ", "", "world ", "word ", "", "", "you", ""]


async def test_the_history_stays_in_the_browser(server: ServerProcess, looked: Page) -> None:
    page = looked
    await visit(page, server.url)
    await page.run("$('speed').value = 1.5")
    await speak(page, "An entry to come back to.")
    await speak(page, "A newer entry.")
    await visit(page, server.url)
    excerpts = "all('#history-list .excerpt').map((node) => node.innerText)"
    assert await page.run(excerpts) == ["A newer entry.", "An entry to come back to."]
    await click(page, "#history-list li:nth-of-type(2) button")
    await page.until(f"{IS_COMPLETE} && {IS_PLAYING}")
    assert await page.run("$('text').value + $('speed').value") == "An entry to come back to.1.5"
    assert await page.run(excerpts) == ["An entry to come back to.", "A newer entry."]
    await click(page, "#history-list li button:nth-of-type(2)")
    assert await page.run(excerpts) == ["A newer entry."]
    await click(page, "#history-clear")
    await page.until("$('confirm').open")
    await page.press("Escape")
    await page.until("!$('confirm').open")
    assert await page.run("all('#history-list li').length") == 1
    await click(page, "#history-clear")
    await page.until("$('confirm').open")
    await click(page, "#confirm-yes")
    await page.until("!all('#history-list li').length")
    assert await page.run("JSON.stringify(Object.values(localStorage))") == '["[]"]'


async def test_the_history_keeps_the_newest_fifty(server: ServerProcess, page: Page) -> None:
    await visit(page, server.url)
    entries = json.dumps([{"input": f"Text {n}", "at": n} for n in range(50)])
    await page.run(f"localStorage['soprano-tts-api.history:/'] = {json.dumps(entries)}")
    await visit(page, server.url)
    await speak(page, "The newest.")
    assert await page.run("all('#history-list li').length") == 50
    assert await page.run("all('#history-list .excerpt')[0].innerText") == "The newest."
    assert KEY not in await page.run("JSON.stringify(localStorage)")


async def open_stored_files(page: Page, place: Place) -> None:
    """Of a server with thirteen, the newest of them from the page itself."""
    for number in range(12):
        body = {"input": f"Stored under {number}.", "store": True, "file_name": "kept"}
        place.request("POST", "/v1/audio/speech", **body)
    await visit_with_key(page, place)
    await page.run("$('store').checked = true")
    await speak(page, "It cost $5.")
    await page.until("text('note').startsWith('Stored as speech_')")
    await click(page, "#stored summary")
    await page.until("all('#stored-list li').length === 10")


def stored_names(place: Place) -> list[str]:
    return [file["id"] for file in place.request("GET", "/v1/audio/files").json()["data"]]


async def test_stored_files_are_listed_in_pages_and_played_with_subtitles(
    place: Place, looked: Page
) -> None:
    page = looked
    await open_stored_files(page, place)
    await click(page, "#stored-more")
    await page.until("all('#stored-list li').length > 12")
    await click(page, "#stored-list li button")
    await page.until("all('#stored-list audio').length === 1")
    await page.until("all('#stored-list audio')[0].duration > 0.5")
    await page.until("all('#stored-list .cue')[0].innerText === 'It cost $5.'")
    assert await page.run("audio.paused")  # one plays at a time
    source = await page.run("all('#stored-list audio')[0].src")
    assert source.startswith("blob:" if place.key else f"{place.url}/v1/audio/files/")


async def test_of_two_stored_files_the_one_chosen_last_is_played(
    keyed: ServerProcess, page: Page
) -> None:
    await open_stored_files(page, Place(keyed.url, KEY))
    await hold(page, "captions.vtt")
    for number in (1, 2):
        await click(page, f"#stored-list li:nth-of-type({number}) button")
        await page.until(f"held.length === {number}")
    await page.run("held[0](), held[1]()")
    await page.until("all('#stored-list li:nth-of-type(2) audio').length === 1")
    assert await page.run("all('#stored-list audio').length") == 1


async def test_a_stored_file_is_not_played_once_its_list_is_replaced(
    keyed: ServerProcess, page: Page
) -> None:
    await open_stored_files(page, Place(keyed.url, KEY))
    await hold(page, "captions.vtt")
    await page.run("""(() => {
        const { play } = HTMLMediaElement.prototype;
        window.started = [];
        HTMLMediaElement.prototype.play = function () {
            started.push(this);
            return play.call(this);
        };
        window.listed = all("#stored-list li")[0];
    })()""")
    await click(page, "#stored-list li button")
    await page.until("held.length === 1")
    await click(page, "#stored-refresh")
    await page.until("!listed.isConnected && all('#stored-list li').length === 10")
    await click(page, "#stored-list li button")
    await page.until("held.length === 2")
    await page.run("held[0](), held[1]()")
    await page.until("started.some((each) => each.isConnected)")
    assert await page.run("started.length") == 1


async def test_a_stored_file_is_deleted_after_a_question(place: Place, looked: Page) -> None:
    page = looked
    await open_stored_files(page, place)
    newest = await page.run("all('#stored-list .name')[0].innerText")
    for answer in ("#confirm button[value=no]", "#confirm-yes"):
        assert newest in stored_names(place)
        await click(page, "#stored-list li button:nth-of-type(4)")
        await page.until(f"$('confirm').open && text('question').includes('{newest}')")
        await click(page, answer)
        await page.until("!$('confirm').open")
    await page.until(f"text('stored-status') === 'Deleted {newest}.'")
    assert newest not in stored_names(place)
    assert await page.run("document.activeElement === all('#stored summary')[0]")


async def test_without_a_key_the_page_says_that_it_needs_one(
    keyed: ServerProcess, page: Page
) -> None:
    await visit(page, keyed.url)
    assert faults(page) == []  # nothing is asked for in vain
    await click(page, "#stored summary")
    await page.until("text('stored-status').includes('key') && !$('key-field').hidden")
    await write(page, TEXT)
    await click(page, "#speak")
    await page.until("text('error').includes('key')")
    assert await page.run("document.activeElement.id") == "key"
    forget_rejections(page)
    await page.type(KEY)
    await speak(page)
    await page.until(IS_PLAYING)
    assert await page.run("text('error')") == ""


async def test_the_spoken_form_is_shown_on_demand(server: ServerProcess, looked: Page) -> None:
    page = looked
    await visit(page, server.url)
    await write(page, f"{TEXT} [pause:1.5s]")
    await click(page, "#normalized")
    await page.until("!$('reading').hidden")
    assert await page.run(
        "all('#segments li').map((node) => node.innerText.split('\\n').at(-1))"
    ) == [
        "The first sentence has seven words.",
        "The second one cost five dollars on December twenty-fifth twenty twenty-four.",
        "A pause of 1.5 s",
    ]
    assert await page.run("all('#segments .changed').length") == 2
    assert await page.run("document.activeElement.id") == "reading-title"
    await click(page, "#close-reading")
    assert await page.run("$('reading').hidden && document.activeElement.id === 'normalized'")


DROP: Final = """((name, content) => {
    const data = new DataTransfer();
    data.items.add(new File([content], name));
    for (const type of ["dragover", "drop"]) {
        const options = { dataTransfer: data, bubbles: true, cancelable: true };
        $("text").dispatchEvent(new DragEvent(type, options));
    }
})"""


async def test_a_file_is_heard_when_it_is_dropped(server: ServerProcess, looked: Page) -> None:
    page = looked
    await visit(page, server.url)
    await click(page, "#text")
    await page.run(f"{DROP}('notes.md', '# Notes\\n\\nIt cost **$5**.')")
    await page.until(f"{IS_COMPLETE} && {IS_PLAYING}")
    assert await page.run("$('text').value") == "# Notes\n\nIt cost **$5**."
    await page.run(f"{DROP}('sound.mp3', new Uint8Array([255, 251, 0, 0]))")
    await page.until("text('error') === 'sound.mp3 is not a text file in UTF-8.'")
    await page.run(f"{DROP}('book.txt', 'a'.repeat(1100000))")
    await page.until("text('error').startsWith('book.txt has 1.0 MiB;')")
    assert await page.run("$('text').value") == "# Notes\n\nIt cost **$5**."
    await page.run(f"{DROP}('long.txt', 'a'.repeat(5000))")
    await page.until("text('error').includes('4096')")
    forget_rejections(page)


async def test_a_file_is_opened_with_a_button(
    server: ServerProcess, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader.")
    await visit(page, server.url)
    root = (await page.call("DOM.getDocument"))["root"]["nodeId"]
    node = await page.call("DOM.querySelector", nodeId=root, selector="#file")
    await page.call(
        "DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(tmp_path / "letter.txt")]
    )
    await page.until(
        "$('text').value === 'Dear reader.' && text('status') === 'Opened letter.txt.'"
    )
    assert await page.run("document.activeElement.id") == "text"


def assert_speaks(command: list[str], directory: Path) -> None:
    """The command writes a file of speech."""
    environ = {**os.environ, "API_KEY": KEY}
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    samples, rate, _ = decode_file((directory / "speech.mp3").read_bytes())
    assert len(samples) / rate > 1
    (directory / "speech.mp3").unlink()


async def test_the_request_is_copied_as_code_that_runs(
    place: Place, page: Page, tmp_path: Path
) -> None:
    await visit_with_key(page, place)
    await page.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    await page.run("$('seed').value = '7'")
    await write(page, 'It\'s "quoted" & costs $5.\nOn two lines.')
    await click(page, "#code-card summary")
    commands = {
        "curl": ["sh", "-c"],
        "python": [sys.executable, "-c"],
        "javascript": ["node", "--input-type=module", "-e"],
    }
    for language, command in commands.items():
        await choose(page, "language", language)
        await click(page, "#copy")
        await page.until(f"text('copied').toLowerCase().includes('the {language} code')")
        code = await page.run("navigator.clipboard.readText()")
        assert code == await page.run("$('code').textContent")
        assert KEY not in code
        assert_speaks([*command, code], tmp_path)


async def test_sampling_is_sent_and_what_the_server_says_of_it_is_shown(
    server: ServerProcess, looked: Page
) -> None:
    page = looked
    await visit(page, server.url)
    await click(page, "#form summary")
    await click(page, "#temperature")
    await page.type("0.5")
    await speak(page)
    assert "this model does not sample" in await page.run("text('note')")
    await click(page, "#top_p")
    await page.type("3")
    await click(page, "#speak")
    await page.until("text('error').includes('top_p')")
    forget_rejections(page)


async def test_voices_are_listed_and_chosen(server: ServerProcess, page: Page) -> None:
    await visit(page, server.url)
    voices = Place(server.url, "").request("GET", "/v1/audio/voices").json()["voices"]
    await page.until("$('voice').options.length > 1")
    assert await page.run("[...$('voice').options].map((option) => option.value)") == [
        voice["id"] for voice in voices
    ]
    await choose(page, "voice", "nova")
    await speak(page)
    assert '"voice":"nova"' in await page.run("Object.values(localStorage).join()")


@pytest.mark.parametrize("audio_format", ["mp3", "wav", "opus"])
async def test_the_audio_can_be_downloaded(
    server: ServerProcess, page: Page, tmp_path: Path, audio_format: str
) -> None:
    await page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    await visit(page, server.url)
    await speak(page)
    length_s = await page.run("Number($('seek').max)")
    await choose(page, "format", audio_format)
    await click(page, "#download")
    name = "speech.ogg" if audio_format == "opus" else f"speech.{audio_format}"
    await wait_for_file(tmp_path, name)
    samples, rate, _ = decode_file((tmp_path / name).read_bytes())
    assert len(samples) / rate == pytest.approx(length_s, abs=0.3)


async def test_a_download_leaves_the_button_to_a_speech_that_began_meanwhile(
    server: ServerProcess, page: Page, tmp_path: Path
) -> None:
    await page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    await visit(page, server.url)
    await speak(page)
    await choose(page, "format", "wav")
    await hold(page, "v1/audio/speech")
    await click(page, "#download")
    await page.until("held.length === 1")
    await write(page, "Another text.")
    await click(page, "#speak")
    await page.until("held.length === 2")
    await page.run("held[0]()")
    await wait_for_file(tmp_path, "speech.wav")
    assert await page.run("$('download').disabled")
    await page.run("held[1]()")
    await page.until(f"{IS_COMPLETE} && !$('download').disabled")


async def test_what_was_typed_live_is_downloaded_as_mp3(
    server: ServerProcess, page: Page, tmp_path: Path
) -> None:
    await page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    await visit(page, server.url)
    await choose(page, "format", "wav")
    await click(page, "#live")
    await page.type("Typed. And more ")
    await page.until("audio.currentTime > 0")
    await page.press("Escape")
    assert await page.run("$('format').hidden && text('download') === 'Download MP3'")
    await click(page, "#download")
    await wait_for_file(tmp_path, "speech.mp3")
    await click(page, "#live")
    await speak(page)
    assert await page.run("!$('format').hidden && text('download') === 'Download'")


async def show_everything(page: Page) -> None:
    await page.run("$('store').checked = true")
    await page.run("$('key-field').hidden = false")
    await speak(page)
    await page.until(IS_PLAYING)
    await click(page, "#play")
    await click(page, "#normalized")
    await page.until("!$('reading').hidden")
    await page.run("all('details').forEach((details) => { details.open = true; })")
    await page.until("all('#stored-list li').length > 0")
    await click(page, "#stored-list li button")
    await page.until("all('#stored-list .cue').some((node) => node.innerText)")


async def test_axe_finds_nothing(server: ServerProcess, looked: Page, axe: str) -> None:
    page = looked
    await visit(page, server.url)
    await page.run(f"{axe}; 0")
    find = """axe.run().then(({ violations }) => violations.map(
        ({ id, help, nodes }) => [id, help, nodes.map((node) => node.html)]))"""
    assert await page.run(find) == []
    await show_everything(page)
    assert await page.run(find) == []
    await click(page, "#history-clear")
    await page.until("$('confirm').open")
    assert await page.run(find) == []
    await page.press("Escape")
    await page.until("!$('confirm').open")


@pytest.mark.parametrize("width", [320, 375, 640, 1280])
async def test_nothing_is_wider_than_the_window(
    server: ServerProcess, page: Page, width: int
) -> None:
    """640 is a window of 1280 at a zoom of 200 %."""
    await page.look("light", width)
    await visit(page, server.url)
    await show_everything(page)
    assert await page.run("document.documentElement.scrollWidth <= innerWidth")
    wide = """all("main *").filter((node) => !node.closest("pre") && !node.closest("audio")
        && node.getBoundingClientRect().right > document.documentElement.clientWidth)
        .map((node) => node.outerHTML.slice(0, 80))"""
    assert await page.run(wide) == []


@pytest.mark.parametrize("kind", ["nginx", "caddy", "nginx that keeps the path"])
async def test_the_page_works_below_a_path(kind: str, page: Page, tmp_path: Path) -> None:
    keeps_path = kind not in ("nginx", "caddy")
    site = KEEPS_PATH if keeps_path else example(kind)
    environ = {
        "SOPRANO_SERVER__ROOT_PATH": "/tts" if keeps_path else "",
        "SOPRANO_SERVER__ALLOWED_HOSTS": "127.0.0.1",  # the name of the proxy, for the WebSocket
        "SOPRANO_STORE__DIRECTORY": str(tmp_path / "store"),
        "SOPRANO_AUTH__KEYS": f"alice:{KEY}",
    }
    with (
        server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server,
        proxy(kind.split(maxsplit=1)[0], site, f"127.0.0.1:{server.port}", tmp_path) as url,
    ):
        await visit(page, f"{url}/" if kind == "caddy" else url)
        assert await page.run("location.pathname") == "/tts/"
        await page.run(f"$('key').value = '{KEY}'")
        await show_everything(page)
        if not keeps_path:  # that example of a site does not upgrade connections
            await click(page, "#live")
            await page.type("Typed below a path. And more ")
            await page.until(IS_PLAYING)
            await page.press("Escape")
        addresses = [
            event["params"]["request"]["url"]
            for event in page.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        fetched = {each for each in addresses if not each.startswith(("blob:", "data:"))}
        assert {each for each in fetched if not each.startswith(url)} == set()
        assert any(each.startswith(f"{url}/v1/audio/files") for each in fetched)


async def test_a_page_without_a_slash_at_its_end_finds_its_files(
    server: ServerProcess, page: Page
) -> None:
    """Some proxies forward `/tts` as well as `/tts/`; a query stays as it is."""
    await visit(page, f"{server.url}/?a=b#c")
    assert await page.run("location.search + location.hash") == "?a=b#c"
    await speak(page)


async def test_a_server_that_goes_away_is_noticed(tmp_path: Path, page: Page) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        await visit(page, server.url)
    await click(page, "#speak")
    await page.until("text('error') === 'The server cannot be reached.'")
    page.events.clear()


async def test_a_websocket_that_was_idle_is_replaced(tmp_path: Path, page: Page) -> None:
    environ = {"SOPRANO_SERVER__SOCKET_IDLE_S": "2"}
    with server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        await visit(page, server.url)
        await click(page, "#live")
        await page.type("One. Two ")
        await page.until(IS_PLAYING)
        await page.until("!$('download').disabled")  # the server has closed it
        assert await page.run("text('error')") == ""
        assert (await page.run("text('status')")).startswith("Ended: ")
        await page.type("three. Four ")
        await page.until("text('words') === 'three. Four '")
        await page.until(f"{IS_PLAYING} && $('download').disabled")


async def test_voices_that_need_a_key_are_listed_once_there_is_one(
    tmp_path: Path, page: Page
) -> None:
    environ = {"SOPRANO_AUTH__KEYS": f"alice:{KEY}", "SOPRANO_AUTH__OPEN_ROUTES": "none"}
    with server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        await visit(page, server.url)
        await click(page, "#speak")
        await page.until("document.activeElement === $('key')")
        await page.type(KEY)
        await page.press("Tab")
        await page.until("$('voice').options.length > 1")
        forget_rejections(page)

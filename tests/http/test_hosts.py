"""Web pages of strangers: by a name of their own that resolves here, and by what browsers tell."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from app.domain.services.lifecycle import WARM_UP_TEXT
from app.entrypoints.http.access import AllowedHosts, host_name
from app.entrypoints.http.schemas import SECURITY_HEADERS
from app.entrypoints.settings import ServerSettings, Settings
from tests.examples import table
from tests.serving import Fakes, serving, serving_until_stopped
from tests.wire import exchange

KEY = "sk-soprano-0123456789abcdef"
PAGE = "https://chat.example.org"
SPEECH = "/v1/audio/speech"
FILES = "/v1/audio/files"
FILE = f"{FILES}/speech_000001.mp3"
BODY = {"input": "One. Two.", "store": True}
REQUESTS = [
    ("GET", "/"), ("GET", "/schema"), ("GET", "/metrics"), ("GET", "/health/live"),
    ("GET", "/v1/models"), ("GET", FILES), ("GET", FILE), ("HEAD", FILE),
    ("GET", f"{FILE}/captions.vtt"), ("GET", "/nowhere"), ("POST", SPEECH), ("DELETE", FILE),
    ("OPTIONS", SPEECH),
]  # fmt: skip
WITH_USER_DATA = [
    ("GET", "/metrics"), ("GET", FILES), ("GET", FILE), ("HEAD", FILE),
    ("GET", f"{FILE}/captions.vtt"), ("POST", SPEECH), ("DELETE", FILE),
]  # fmt: skip


@asynccontextmanager
async def client_of(fakes: Fakes, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        kept = await client.post(SPEECH, json=BODY, headers={"authorization": f"Bearer {KEY}"})
        assert kept.headers["x-stored-file"] == "speech_000001.mp3"
        client.headers.update(headers)
        yield client


def served_as(allowed_hosts: str = "", host: str = "127.0.0.1", cors_origins: str = "") -> Fakes:
    server = ServerSettings(host=host, allowed_hosts=allowed_hosts, cors_origins=cors_origins)
    return Fakes(Settings(server=server))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8000", "localhost"), ("Speech.Example.org", "speech.example.org"),
        ("a.", "a"), ("[::1]:8000", "::1"), ("[::1]", "::1"), ("127.0.0.1", "127.0.0.1"),
        ("", ""), (":80", ""), ("127.0.0.1:abc", "127.0.0.1:abc"), ("[::1].evil", "[::1].evil"),
        ("127.0.0.1:80@evil.example", "127.0.0.1:80@evil.example"), ("::1]", "::1]"),
    ],
)  # fmt: skip
def test_the_name_of_a_host_is_what_stands_before_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("listen_host", "setting", "name", "is_allowed"),
    [
        ("127.0.0.1", "", "localhost", True),
        ("127.0.0.1", "", "127.3.2.1", True),
        ("127.0.0.1", "", "::1", True),
        ("127.0.0.1", "", "192.168.1.7", False),
        ("127.0.0.1", "", "evil.example", False),
        ("127.0.0.1", "", "localhost.evil.example", False),
        ("127.0.0.1", "", "127.0.0.1.evil.example", False),
        ("192.168.1.7", "", "192.168.1.7", True),
        ("192.168.1.7", "", "192.168.1.8", False),
        ("0.0.0.0", "", "192.168.1.8", True),
        ("::", "", "fe80::1", True),
        ("0.0.0.0", "", "evil.example", False),
        ("speech.local", "", "speech.local", True),
        ("0.0.0.0", "soprano, speech.example.org", "soprano", True),
        ("0.0.0.0", "soprano, speech.example.org", "speech.example.org", True),
        ("0.0.0.0", "soprano, speech.example.org", "example.org", False),
        ("127.0.0.1", "[fe80::1]", "fe80::1", True),
        ("127.0.0.1", "*", "evil.example", True),
    ],
)
def test_a_server_answers_to_its_own_names_and_to_addresses_it_listens_on(
    listen_host: str, setting: str, name: str, *, is_allowed: bool
) -> None:
    assert AllowedHosts(listen_host, setting).allows(name) is is_allowed


async def test_a_request_to_another_name_is_refused_and_told_which_setting_to_change() -> None:
    async with client_of(
        fakes := served_as(), host="evil.example", origin="http://evil.example"
    ) as client:
        for method, path in REQUESTS:
            refused = await client.request(method, path, json=BODY if method == "POST" else None)
            assert refused.status_code == 421
            assert refused.headers["x-request-id"]
            if method != "HEAD":
                error = refused.json()["error"]
                assert error["code"] == "host_not_allowed"
                assert error["type"] == "invalid_request_error"
                assert "'evil.example'" in error["message"]
                assert "server.allowed_hosts" in error["message"]
        assert (await client.get(FILES, headers={"host": "localhost"})).json()["data"]
    assert [text for text, *_ in fakes.model.spoken] == [WARM_UP_TEXT, "One.", "Two."]


@table(
    ("target", "host", "status"),
    [
        ("http://localhost:8000/health/live", "evil.example", 200),
        ("http://evil.example/health/live", "localhost", 421),
        ("http://localhost@evil.example/health/live", "localhost", 421),
    ],
)
async def test_a_name_in_the_target_counts_in_place_of_the_header(
    client: httpx.AsyncClient, target: str, host: str, status: int
) -> None:
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = await exchange(str(client.base_url), head.encode())
    assert answer.status == status


async def test_a_name_that_is_configured_is_answered() -> None:
    async with client_of(served_as("speech.example.org")) as client:
        for host in ("speech.example.org", "speech.example.org:443", "localhost:1"):
            assert (await client.get(FILES, headers={"host": host})).status_code == 200, host


async def test_who_has_a_key_may_use_any_name_and_who_has_none_gets_nothing_by_it() -> None:
    fakes = served_as()
    fakes.keys.give("alice", KEY)
    async with client_of(fakes, host="evil.example") as client:
        assert (await client.get(FILES)).status_code == 401
        authorized = {"authorization": f"Bearer {KEY}"}
        assert (await client.get(FILES, headers=authorized)).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_another_page_asks_for_is_refused_where_it_is_about_user_data(
    site: str,
) -> None:
    async with client_of(fakes := served_as(), **{"sec-fetch-site": site}) as client:
        for method, path in WITH_USER_DATA:
            refused = await client.request(method, path, json=BODY if method == "POST" else None)
            assert refused.status_code == 403
            if method != "HEAD":
                assert refused.json()["error"]["code"] == "origin_not_allowed"
    assert len(fakes.model.spoken) == 3


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_the_servers_own_page_and_a_typed_address_are_served(site: str) -> None:
    async with client_of(served_as(), **{"sec-fetch-site": site}) as client:
        for method, path in WITH_USER_DATA:
            answer = await client.request(method, path, json=BODY if method == "POST" else None)
            assert answer.status_code in (200, 204)


async def test_a_page_that_cors_allows_is_served() -> None:
    headers = {"sec-fetch-site": "cross-site", "origin": PAGE}
    async with client_of(served_as(cors_origins=PAGE), **headers) as client:
        for method, path in WITH_USER_DATA:
            answer = await client.request(method, path, json=BODY if method == "POST" else None)
            assert answer.status_code in (200, 204)
            evil = await client.request(method, path, headers={"origin": "https://evil.example"})
            assert evil.status_code == 403


async def test_what_is_nobodys_own_may_be_linked_to() -> None:
    async with client_of(served_as(), **{"sec-fetch-site": "cross-site"}) as client:
        for path in ("/", "/schema", "/health/live", "/v1/models", "/v1/audio/voices"):
            assert (await client.get(path)).status_code == 200, path


async def test_a_link_from_a_page_of_the_same_machine_may_be_followed_but_not_from_elsewhere() -> (
    None
):
    headers = {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}
    async with client_of(served_as(), **headers) as client:
        near = await client.get(FILE, headers={"sec-fetch-site": "same-site"})
        far = await client.get(FILE, headers={"sec-fetch-site": "cross-site"})
    assert (near.status_code, far.status_code) == (200, 403)


@pytest.mark.parametrize(
    "headers", [{}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"}]
)
async def test_every_answer_tells_browsers_what_other_pages_may_not_do(
    headers: dict[str, str],
) -> None:
    async with client_of(served_as(), **headers) as client:
        for method, path in REQUESTS:
            answer = await client.request(method, path, json=BODY if method == "POST" else None)
            assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


@pytest.mark.skipif(not socket.has_ipv6, reason="needs an address of IPv6")
async def test_the_address_that_the_log_names_can_be_asked_also_with_ipv6() -> None:
    fakes = served_as(host="::1")
    with capture_logs() as events:
        async with (
            serving_until_stopped(fakes.app(), fakes.settings.server),
            httpx.AsyncClient() as client,
        ):
            (url,) = [event["url"] for event in events if event["event"] == "server.listening"]
            assert url.startswith("http://[::1]:")
            assert (await client.get(f"{url}/health/live")).status_code == 200

import gzip
import socket

import pytest

from rag_assets.config import HttpSettings
from rag_assets.sources.http import HttpClient, Unreachable
from rag_assets_tests.sources.site import Answer, serving


@pytest.fixture
def site():
    with serving() as served:
        yield served


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(waits):
    return HttpClient(HttpSettings(allow_private=True), sleep=waits.append)


def after(failures, then):
    """An answer that fails so many times first."""
    left = list(failures)

    def answer(request):
        return left.pop(0) if left else then

    return answer


def test_an_answer(site, client):
    site.pages["/a?x=1"] = Answer(b"hello", headers={"X-Kind": "y"})
    reply = client.get(site.url("/a?x=1"))
    assert (reply.status, reply.body, reply.headers["x-kind"]) == (200, b"hello", "y")
    assert reply.url == site.url("/a?x=1")


@pytest.mark.parametrize("status", [404, 410])
def test_missing_pages_are_answers(site, client, status):
    site.pages["/a"] = Answer(status=status)
    assert client.get(site.url("/a")).status == status


def test_the_server_says_how_long_to_wait(site, client, waits):
    busy = Answer(status=429, headers={"Retry-After": "7"})
    site.pages["/a"] = after([busy, Answer(status=503)], Answer(b"ok"))
    assert client.get(site.url("/a")).body == b"ok"
    assert waits == [7.0, 1.0]


def test_a_date_to_wait_for_is_by_the_clock_of_the_server(site, client, waits):
    dates = {
        "Date": "Fri, 01 May 2020 10:00:00 GMT",
        "Retry-After": "Fri, 01 May 2020 10:00:09 GMT",
    }
    site.pages["/a"] = after([Answer(status=429, headers=dates)], Answer(b"ok"))
    assert client.get(site.url("/a")).body == b"ok"
    assert waits == [9.0]


def test_who_asks_for_hours_counts_as_down(site, client, waits):
    site.pages["/a"] = Answer(status=429, headers={"Retry-After": "7200"})
    with pytest.raises(Unreachable, match="status 429"):
        client.get(site.url("/a"))
    assert waits == []


def test_tries_run_out(site, client, waits):
    site.pages["/a"] = Answer(status=500)
    with pytest.raises(Unreachable, match="status 500"):
        client.get(site.url("/a"))
    assert waits == [0.5, 1.0, 2.0]
    assert len(site.requests) == 4


def test_a_refusal_is_not_tried_again(site, client):
    site.pages["/a"] = Answer(status=403)
    with pytest.raises(Unreachable, match="status 403"):
        client.get(site.url("/a"))
    assert site.requests == ["/a"]


def test_a_body_that_is_cut_off_is_tried_again(site, client):
    site.pages["/a"] = after([Answer(b"hal", cut=5)], Answer(b"whole"))
    assert client.get(site.url("/a")).body == b"whole"
    packed = {"Content-Encoding": "gzip"}
    cut = Answer(gzip.compress(b"whole" * 99)[:20], headers=packed)
    site.pages["/b"] = after([cut], Answer(gzip.compress(b"packed"), headers=packed))
    assert client.get(site.url("/b")).body == b"packed"


def test_a_bomb_is_refused(site, client):
    bomb = gzip.compress(bytes(70 << 20))
    site.pages["/a"] = Answer(bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Unreachable, match="more than 64 MiB"):
        client.get(site.url("/a"))


def test_a_server_that_is_not_there(client, waits):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="ConnectionRefusedError"):
            client.get(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_redirects_are_followed_to_an_end(site, client):
    site.pages["/a"] = Answer(status=302, headers={"Location": "b"})
    site.pages["/b"] = Answer(b"there")
    reply = client.get(site.url("/a"))
    assert (reply.body, reply.url) == (b"there", site.url("/b"))
    site.pages["/c"] = Answer(status=301, headers={"Location": "/c"})
    with pytest.raises(Unreachable, match="more than 5 redirects"):
        client.get(site.url("/c"))


def test_credentials_do_not_follow_a_redirect_to_another_host(site):
    seen = []

    def answer(request):
        seen.append((request["host"].partition(":")[0], request.get("authorization")))
        return Answer(b"ok")

    site.pages["/a"] = Answer(
        status=302, headers={"Location": site.url("/b").replace("127.0.0.1", "localhost")}
    )
    site.pages["/b"] = answer
    settings = HttpSettings(allow_private=True, headers={"Authorization": "Bearer t"})
    client = HttpClient(settings)
    client.get(site.url("/b"))
    client.get(site.url("/a"))
    assert seen == [("127.0.0.1", "Bearer t"), ("localhost", None)]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
    ],
)
def test_private_addresses_are_refused(host):
    client = HttpClient(HttpSettings())
    with pytest.raises(Unreachable, match="private address"):
        client.get(f"http://{host}:9/")


def test_a_public_name_that_leads_home_is_refused(monkeypatch):
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *a, **k: [(0, 0, 0, "", ("8.8.8.8", 80)), (0, 0, 0, "", ("10.1.2.3", 80))],
    )
    with pytest.raises(Unreachable, match=r"example.org is at the private address 10\.1\.2\.3"):
        HttpClient(HttpSettings()).get("http://example.org/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "http:///x", "x"])
def test_other_addresses_are_refused(url, client):
    with pytest.raises(Unreachable, match="expected an http"):
        client.get(url)


def test_requests_to_one_host_keep_their_distance(site, waits):
    site.pages["/a"] = Answer(b"ok")
    client = HttpClient(HttpSettings(allow_private=True, interval=5), sleep=waits.append)
    for _ in range(3):
        client.get(site.url("/a"))
    assert len(waits) == 2
    assert all(4 < wait <= 10 for wait in waits)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f.1",
        "127.1",
        "user:password@127.0.0.1",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "[::ffff:0:7f00:1]",
        "[fec0::1]",
    ],
)
def test_private_addresses_written_in_other_ways_are_refused(host):
    with pytest.raises(Unreachable, match="private address"):
        HttpClient(HttpSettings()).get(f"http://{host}:9/")


def test_a_redirect_that_leads_home_or_nowhere_is_refused(site, waits):
    strict = HttpClient(HttpSettings(allow_private=True), sleep=waits.append)
    for place in ("http://[bad/", "http://h:99999/", "http://" + "x" * 300 + "/"):
        site.pages["/a"] = Answer(status=302, headers={"Location": place})
        with pytest.raises(Unreachable, match="no address"):
            strict.get(site.url("/a"))
    assert waits == []


def test_an_answer_that_is_packed_otherwise_is_refused(site, client):
    site.pages["/a"] = Answer(b"?", headers={"Content-Encoding": "br"})
    with pytest.raises(Unreachable, match="packed as 'br'"):
        client.get(site.url("/a"))
    site.pages["/b"] = Answer(gzip.compress(b"b"), headers={"Content-Encoding": "X-GZip"})
    assert client.get(site.url("/b")).body == b"b"


def test_configured_headers_go_to_trusted_hosts_alone(site):
    seen = []
    site.pages["/a"] = lambda request: seen.append(request.get("x-key")) or Answer(b"ok")
    client = HttpClient(HttpSettings(allow_private=True, headers={"X-Key": "t"}))
    client.trust_only([site.url("/feed")])
    client.get(site.url("/a"))
    client.get(site.url("/a").replace("127.0.0.1", "localhost"))
    assert seen == ["t", None]

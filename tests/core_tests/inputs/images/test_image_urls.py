"""Image URLs taken apart in one strict reading, and hosts matched against patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.inputs.images.image_urls import ImageUrlError, check_pattern, matches, parse_host, parse_url


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target", "authority"),
    [
        ("http://cdn.example.com/a.jpg", "http", "cdn.example.com", 80, "/a.jpg", "cdn.example.com"),
        ("HTTPS://CDN.Example.com/A.jpg?w=1&h=2", "https", "cdn.example.com", 443, "/A.jpg?w=1&h=2", "cdn.example.com"),
        ("https://cdn.example.com", "https", "cdn.example.com", 443, "/", "cdn.example.com"),
        ("https://cdn.example.com?id=1", "https", "cdn.example.com", 443, "/?id=1", "cdn.example.com"),
        ("https://cdn.example.com:443/a", "https", "cdn.example.com", 443, "/a", "cdn.example.com"),
        ("https://cdn.example.com:80/a#x", "https", "cdn.example.com", 80, "/a", "cdn.example.com:80"),
        ("http://93.184.215.14/a", "http", "93.184.215.14", 80, "/a", "93.184.215.14"),
        ("http://[2606:4700::1]:443/a", "http", "2606:4700::1", 443, "/a", "[2606:4700::1]:443"),
        ("http://xn--fa-hia.example.com/@a:b", "http", "xn--fa-hia.example.com", 80, "/@a:b", "xn--fa-hia.example.com"),
    ],
)
def test_plain_urls_are_taken_apart(url: str, scheme: str, host: str, port: int, target: str, authority: str) -> None:
    parsed = parse_url(url, chars=100)
    assert (parsed.scheme, str(parsed.host), parsed.port, parsed.target) == (scheme, host, port, target)
    assert parsed.authority == authority


URL = parse_url("http://cdn.example.com/a/a.jpg", chars=100)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("b.jpg?x=1", "http://cdn.example.com/a/b.jpg?x=1"),
        ("/b.jpg", "http://cdn.example.com/b.jpg"),
        ("//other.example.com/b.jpg", "http://other.example.com/b.jpg"),
        ("https://other.example.com/b.jpg#x", "https://other.example.com/b.jpg"),
    ],
)
def test_redirects_are_joined(location: str, leads_to: str) -> None:
    assert URL.join(location, chars=100) == parse_url(leads_to, chars=100)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://a@b.example.com/", "//0x7f.1/a", "http://localhost/", "/" + "a" * 100]
)
def test_a_redirect_is_read_as_strictly_as_a_url(location: str) -> None:
    with pytest.raises(ImageUrlError) as refused:
        URL.join(location, chars=100)
    assert refused.value.kind == "url"


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://cdn.example.com{text}"):
        try:
            parsed = parse_url(url, chars=80)
        except ImageUrlError as refused:
            assert refused.kind == "url"
        else:
            assert parsed.target.startswith("/") and parsed.target.isascii() and parsed.target.isprintable()
            assert parse_host(parsed.authority.removesuffix(f":{parsed.port}")) == parsed.host


def test_patterns_match_names_and_what_is_below() -> None:
    assert matches("cdn.example.com", ["*"])
    assert matches("cdn.example.com", ["a.example", "cdn.example.com"])
    assert matches("a.b.example.com", ["*.example.com"])
    assert matches(parse_host("93.184.215.14"), ["93.184.215.14"])
    assert matches(parse_host("[2606:4700:0::1]"), [check_pattern("[2606:4700::1]")])
    for pattern in ("example.com", "*.cdn.example.com", "*.ample.com", "cdn.example.co"):
        assert not matches("cdn.example.com", [pattern])
    assert not matches("example.com", ["*.example.com"])
    assert not matches("cdn.example.com", [])


@pytest.mark.parametrize(
    "pattern", ["", "example", "*example.com", "https://example.com", "a.*.com", "*.", "ex ample.com"]
)
def test_patterns_that_match_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        check_pattern(pattern)

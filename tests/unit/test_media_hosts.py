"""Where a file may be fetched from: the table of what is asked and what is not."""

import pytest

from connector.media.hosts import why_refused

GRAPH = "https://graph.facebook.com"
SANDBOX = "http://127.0.0.1:8703"


@pytest.mark.parametrize(
    "url",
    [
        "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=2&hash=A",
        "https://LOOKASIDE.fbsbx.com/x",
        "https://lookaside.fbsbx.com:443/x",
        "https://scontent.xx.fbcdn.net/v/t61/1.jpg?oh=a%2Bb",
        "https://mmg.whatsapp.net/v/x",
        "https://graph.facebook.com/v24.0/1",
    ],
)
def test_hosts_of_meta_are_asked_over_https(url: str) -> None:
    """URLs on Meta's media hosts pass."""
    assert why_refused(url, base_url=GRAPH) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com:8443/x",
        "https://lookaside.fbsbx.com.evil.example/x",
        "https://evil.example/lookaside.fbsbx.com",
        "https://evil.example/?u=https://lookaside.fbsbx.com/",
        "https://evil.example#lookaside.fbsbx.com",
        "https://lookaside.fbsbx.com@evil.example/x",
        "https://user:pass@lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com\\@evil.example/x",
        "https://lookaside.fbsbx.com\t.evil.example/x",
        "https://lookaside.fbsbx.com./x",
        "https://.fbcdn.net/x",
        "https://fbcdn.net/x",
        "https://evilfbcdn.net/x",
        "https://whatsapp.net.evil.example/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/x",
        "https://2130706433/x",
        "https://localhost/x",
        "https://lооkaside.fbsbx.com/x",
        "https:/lookaside.fbsbx.com/x",
        "//lookaside.fbsbx.com/x",
        "file:///etc/passwd",
        "gopher://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com/a b",
        "https://lookaside.fbsbx.com/\r\nHost: evil.example",
        " https://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com/" + "a" * 9_000,
        "http://127.0.0.1:8703/x",
        "",
    ],
)
def test_everything_else_is_not_asked(url: str) -> None:
    """Other hosts, schemes, ports and forms are refused, with a reason."""
    assert why_refused(url, base_url=GRAPH)


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://127.0.0.1:8703/whatsapp_business/attachments/?mid=1", True),
        ("http://127.0.0.1:8704/x", False),
        ("https://127.0.0.1:8703/x", False),
        ("http://127.0.0.2:8703/x", False),
        ("http://127.0.0.1/x", False),
        ("https://lookaside.fbsbx.com/x", True),
    ],
)
def test_the_configured_graph_host_is_asked_exactly_as_configured(*, url: str, passes: bool) -> None:
    """A simulator's origin passes, whatever its scheme; nothing beside it does."""
    assert (why_refused(url, base_url=SANDBOX) == "") is passes


def test_an_origin_without_its_usual_port_is_the_same_origin() -> None:
    """The default port may be written or not."""
    assert why_refused("https://proxy.example:443/x", base_url="https://proxy.example") == ""


def test_further_hosts_are_asked_when_configured() -> None:
    """A host of the settings passes over https alone."""
    hosts = ["*.cdn.example"]
    assert why_refused("https://a.cdn.example/x", base_url=GRAPH, extra_hosts=hosts) == ""
    assert why_refused("http://a.cdn.example/x", base_url=GRAPH, extra_hosts=hosts)
    assert why_refused("https://cdn.example/x", base_url=GRAPH, extra_hosts=hosts)

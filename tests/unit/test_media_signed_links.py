"""Links to files: the same message always gives the same one, and nobody else can make one."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from connector.media.links import MediaLinks, is_genuine, media_key, media_links, signing_secrets
from connector.settings import Settings

LINKS = MediaLinks(base_url="https://hooks.example", secret="the secret", lifetime=86_400)
AT = 1_790_000_000_123


def parts(link: str) -> tuple[str, str, str]:
    """Key, end, signature."""
    split = urlsplit(link)
    query = dict(parse_qsl(split.query))
    return split.path.removeprefix("/media/"), query["expires"], query["signature"]


def genuine(key: str, expires: str, signature: str, secret: str = "the secret") -> bool:
    return is_genuine(key, expires=expires, signature=signature, secrets=[secret])


def test_a_link_is_the_same_whenever_it_is_made() -> None:
    """Wamid, media id and message time decide a link; it ends its lifetime after the message."""
    link = LINKS.link(wamid="wamid.A", media_id="1", at=AT)
    assert link == LINKS.link(wamid="wamid.A", media_id="1", at=AT)
    key, expires, signature = parts(link)
    assert (key, expires) == (media_key("wamid.A", "1"), str(1_790_000_000 + 86_400))
    assert genuine(key, expires, signature)


@pytest.mark.parametrize(
    "other", [("wamid.B", "1"), ("wamid.A", "2"), ("wamid.A\n1", "")], ids=["wamid", "id", "seam"]
)
def test_another_file_has_another_key(other: tuple[str, str]) -> None:
    """Keys of different files differ."""
    assert media_key(*other) != media_key("wamid.A", "1")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "0" * 32),
        (0, "../etc/passwd"),
        (0, ""),
        (1, "9999999999"),
        (1, "1e12"),
        (1, "-1"),
        (1, "٣٣٣"),
        (1, ""),
        (2, ""),
        (2, "A" * 43),
        (2, "signature\u20ac\ud800"),
    ],
)
def test_a_link_that_was_changed_is_none_of_ours(place: int, value: str) -> None:
    """Another key, end or signature is refused, whatever its form."""
    changed = list(parts(LINKS.link(wamid="wamid.A", media_id="1", at=AT)))
    changed[place] = value
    assert not genuine(changed[0], changed[1], changed[2])


def test_a_link_of_a_former_secret_works_until_the_secret_is_forgotten() -> None:
    """Secrets are rotated by keeping the old one in the list."""
    key, expires, signature = parts(LINKS.link(wamid="wamid.A", media_id="1", at=AT))
    assert is_genuine(key, expires=expires, signature=signature, secrets=["new", "the secret"])
    assert not genuine(key, expires, signature, secret="new")


def configured(**media: object) -> Settings:
    return Settings.model_validate({"ingress": {"public_url": "https://hooks.example"}, "media": media})


def test_links_follow_the_settings() -> None:
    """Secret, public URL and lifetime are the settings'; former secrets are only honoured."""
    settings = configured(signing_secret="the secret", former_signing_secrets=["old", ""], link_days=1)
    assert media_links(settings) == LINKS
    assert signing_secrets(settings) == ["the secret", "old"]


@pytest.mark.parametrize(
    "settings",
    [configured(), Settings.model_validate({"media": {"signing_secret": "s"}})],
    ids=["no secret", "no public URL"],
)
def test_without_secret_or_public_url_there_are_no_links(settings: Settings) -> None:
    """Links that nobody could follow are not made."""
    assert media_links(settings) is None

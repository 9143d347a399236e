"""Images, videos, sounds, documents and stickers: caption first, then type, name, format, size, and the link."""

from __future__ import annotations

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import file_size, joined, one_line
from connector.whatsapp.lenient import as_object


def media(version: Version) -> Part:
    """The file itself is not here; what it is, and where to get it, is."""
    kind = str(version["type"])
    file = as_object(version.get("media"))
    voice = kind == "voice" or bool(file.get("voice"))
    label = "voice message" if voice else kind
    lines = [text] if (text := version.get("text", "")) else []
    lines.append(
        joined(
            label.capitalize(),
            one_line(file.get("filename")),
            one_line(file.get("mime_type"), limit=100),
            file_size(file.get("size")),
        )
    )
    if link := file.get("link"):
        lines.append(str(link))
    return Part(label=label, lines=lines)


def media_placeholder(version: Version) -> Part:
    """A file of the app's history. WhatsApp sends it later if it is not older than 14 days, else never.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/history
    """
    kind = one_line(as_object(part_of(version, "media_placeholder")).get("type"), limit=40)
    return Part(label="media", lines=[joined("A file that WhatsApp has not handed over", kind, by=": ")])

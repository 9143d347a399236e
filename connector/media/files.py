"""What an event says about a file, and how the file may be named and labelled when it is handed out. Pure."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from connector.events import ConversationEvent, Message, MessageEdited
from connector.media.links import media_key
from connector.whatsapp.lenient import as_object

ID_LIFE = timedelta(days=7)
"""How long an inbound file's id works, since 9 October 2025
(developers.facebook.com/docs/whatsapp/cloud-api/reference/media)."""
URL_LIFE = timedelta(minutes=4)
"""How long the URL of a webhook is worth a try: 5 minutes, less what the webhook took to arrive."""

UNKNOWN_TYPE = "application/octet-stream"

_SHA256_BYTES = 32
_LONGEST_NAME = 120
_TYPE = re.compile(
    r'[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+(?:\s*;\s*[a-z0-9-]+=(?:"[\w. -]*"|[\w.+-]+))*', re.ASCII
)
# What a browser may run. Files are attachments always; this is the second lock on the same door.
_ACTIVE = re.compile(r"html|svg|script|flash|/hta|[/+]xml\b")
_EXTENSIONS = {"image/jpeg": ".jpg", "image/webp": ".webp", "audio/ogg": ".ogg", "audio/amr": ".amr"}
_UNSAFE = re.compile(r'[\\/:*?"<>|\s]+')
_JOINERS = frozenset("\u200c\u200d")  # Persian, Hindi and emoji need them
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotedFile:
    """A file that a message brought. `sha256`: hex, "" when it was not said or is none; `url`: the webhook's, or ""."""

    key: str
    wamid: str
    contact_id: UUID | None
    media_id: str
    phone_number_id: str
    kind: str
    mime_type: str
    filename: str
    sha256: str
    size: int | None
    url: str
    received_at: datetime
    at: datetime

    @property
    def fetch_until(self) -> datetime:
        """When WhatsApp forgets it."""
        return self.received_at + ID_LIFE


def noted_file(event: ConversationEvent) -> NotedFile | None:
    """The file that an event brings, None when it brings none.

    Those that a person sends, and those that the business sends from its phone; what is sent through the API is
    the sender's own file.
    """
    if not isinstance(event, Message | MessageEdited) or event.media is None or not event.media.id:
        return None
    if event.direction == "outbound" and event.via == "platform":
        return None
    wamid = event.target if isinstance(event, MessageEdited) else event.wamid
    media = event.media
    url = as_object(event.content.get(event.message_type)).get("url")
    return NotedFile(
        key=media_key(wamid, media.id),
        wamid=wamid,
        contact_id=event.person.contact_id,
        media_id=media.id,
        phone_number_id=event.phone_number_id,
        kind=event.message_type,
        mime_type=media.mime_type,
        filename=media.filename,
        sha256=sha256_hex(media.sha256),
        size=media.size,
        url=url if isinstance(url, str) else "",
        received_at=event.origin.received_at,
        at=event.at,
    )


def sha256_hex(said: str) -> str:
    """A SHA-256 in hex: webhooks write base64, Graph's answers and older webhooks hex. "" for anything else."""
    said = said.strip()
    try:
        if len(said) == 2 * _SHA256_BYTES:
            return bytes.fromhex(said).hex()
        decoded = base64.b64decode(said, validate=True)
    except (ValueError, binascii.Error):
        return ""
    return decoded.hex() if len(decoded) == _SHA256_BYTES else ""


def content_type(said: str) -> str:
    """A Content-Type that may stand in an answer: what was said, unless it is none or something a browser runs."""
    label = said.strip().lower()
    if not _TYPE.fullmatch(label) or _ACTIVE.search(label):
        return UNKNOWN_TYPE
    return label


def file_name(said: str, *, kind: str, mime_type: str, key: str) -> str:
    """A name for the person's disk: the sender's, without what could lead out of a folder or mislead the eye.

    Path separators, control characters and marks that turn the reading direction (`exe.fdp` shown as `pdf.exe`)
    are taken out; a file without a name gets one.
    """
    visible = "".join(
        char
        for char in unicodedata.normalize("NFC", said)
        if char in _JOINERS or unicodedata.category(char)[0] != "C"
    )
    name = _UNSAFE.sub("_", visible.strip()).strip("._ ")
    if not name.strip("\u200c\u200d"):
        bare = content_type(mime_type).split(";", maxsplit=1)[0]
        known = bare != UNKNOWN_TYPE
        extension = _EXTENSIONS.get(bare) or (mimetypes.guess_extension(bare) if known else None) or ""
        return f"whatsapp-{re.sub('[^a-z]', '', kind.lower()) or 'file'}-{key[:8]}{extension}"
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    if len(name) > _LONGEST_NAME:
        stem, dot, extension = name.rpartition(".")
        if not dot or len(extension) > 10:
            stem, dot, extension = name, "", ""
        name = f"{stem[: _LONGEST_NAME - len(dot + extension)]}{dot}{extension}"
    return name

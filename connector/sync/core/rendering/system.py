"""What WhatsApp itself says in a chat: a new number, a new user id, a new device."""

from __future__ import annotations

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import joined, one_line, paragraph
from connector.whatsapp.lenient import as_object

_NEWS = {
    "user_changed_number": "Changed their phone number",
    "customer_changed_number": "Changed their phone number",
    "user_changed_user_id": "Has a new user id",
    "customer_identity_changed": "Uses WhatsApp on a new device or installed it anew",
}


def system(version: Version) -> Part:
    """WhatsApp's own sentence, and the new number or id."""
    notice = as_object(part_of(version, "system"))
    kind = one_line(notice.get("type"), limit=80)
    sentence = paragraph(version.get("text")) or _NEWS.get(kind, "")
    changes = [
        f"{label}: {value}"
        for label, keys in (
            ("New number", ("wa_id", "new_wa_id")),
            ("New user id", ("user_id",)),
            ("Previous user id", ("previous_user_id",)),
        )
        if (value := next((text for key in keys if (text := one_line(notice.get(key)))), ""))
    ]
    return Part(
        label="notice",
        lines=[sentence or joined("Notice by WhatsApp", kind, by=": ")],
        details=changes,
    )

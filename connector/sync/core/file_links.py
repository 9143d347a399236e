"""Links to a message's files, put into its facts for the moment of rendering. Pure; the facts that are kept have none.

A link is known before its file is: it is made of what names the file, so an activity need not wait for a download.
"""

from __future__ import annotations

from typing import Any, Protocol

from connector.sync.core.activities import ActivityFacts


class FileLinks(Protocol):
    """Makes the link to one file. `at`: the message's time, milliseconds since the epoch. Always the same answer."""

    def link(self, *, wamid: str, media_id: str, at: int) -> str: ...


def with_file_links(facts: ActivityFacts, *, wamid: str, links: FileLinks | None) -> ActivityFacts:
    """The facts with a `link` beside the file of the message and of its edit; unchanged without `links` or files.

    Files that were sent through the API are the sender's own: nobody fetches them, so there is no link.
    """
    if links is None:
        return facts
    shown = dict(facts)
    for name in ("message", "edit"):
        version: dict[str, Any] = facts.get(name) or {}
        file = version.get("media") or {}
        own = version.get("direction") == "outbound" and version.get("via") == "platform"
        if file.get("id") and not own:
            link = links.link(wamid=wamid, media_id=file["id"], at=version["at"])
            shown[name] = {**version, "media": {**file, "link": link}}
    return shown

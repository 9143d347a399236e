"""`query` and `queryAll`, page by page. queryAll sees deleted records too."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from connector.sandbox.gateway import Answer
from connector.sandbox.salesforce.errors import RequestError
from connector.sandbox.salesforce.routing import Asked, route
from connector.sandbox.salesforce.soql import parse, run


def query(asked: Asked) -> Answer:
    """GET query/?q=…"""
    text = asked.first("q")
    if text is None:
        raise RequestError(status=400, code="MALFORMED_QUERY", message="a query string has to be specified")
    return _page(asked, text, start=0)


def more(asked: Asked) -> Answer:
    """GET query/{locator}: the next page."""
    try:
        text, start = json.loads(base64.urlsafe_b64decode(asked.params["locator"]))
    except (binascii.Error, ValueError):
        raise RequestError(
            status=400, code="INVALID_QUERY_LOCATOR", message="invalid query locator"
        ) from None
    return _page(asked, text, start=start)


def _page(asked: Asked, text: str, *, start: int) -> Answer:
    kind = asked.params["kind"]
    visible = {
        name: table for name, table in asked.org.tables.items() if name not in asked.org.config.absent_objects
    }
    found = run(parse(text), visible, deleted=kind == "queryAll", version=asked.version)
    size = asked.org.config.query_page
    document: dict[str, Any] = {
        "totalSize": len(found),
        "done": start + size >= len(found),
        "records": found[start : start + size],
    }
    if not document["done"]:
        locator = base64.urlsafe_b64encode(json.dumps([text, start + size]).encode()).decode()
        document["nextRecordsUrl"] = f"/services/data/v{asked.version}/{kind}/{locator}"
    return Answer(status=200, document=document)


ROUTES = (
    route("GET", r"(?P<kind>query|queryAll)/?", query),
    route("GET", r"(?P<kind>query|queryAll)/(?P<locator>[\w=-]+)", more),
)

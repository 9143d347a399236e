"""SOQL, in URLs that stay short enough: a request's URI may have 16,384 bytes.

https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet (SOQL and URI lengths).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote_plus

from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.sdk import format_soql
from connector.errors import Transient

_LONGEST_LIST = 12_000
"""Bytes of a list of values, as it stands in the URL."""


async def select(client: SalesforceClient, soql: str, *, deleted: bool = False) -> list[dict[str, Any]]:
    """All records of a query. `deleted`: those in the recycle bin too."""
    records, after = await first_page(client, soql, deleted=deleted)
    while after:
        more, after = await next_page(client, after)
        records += more
    return records


async def first_page(
    client: SalesforceClient, soql: str, *, deleted: bool = False
) -> tuple[list[dict[str, Any]], str]:
    """Some 2,000 records of a query, and where the next page is; "": there is none."""
    path = "queryAll/" if deleted else "query/"
    return _page(await client.call("GET", path, params={"q": soql}, writes=False))


async def next_page(client: SalesforceClient, after: str) -> tuple[list[dict[str, Any]], str]:
    """The page that another one named."""
    return _page(await client.call("GET", after, writes=False))


def _page(answer: Any) -> tuple[list[dict[str, Any]], str]:
    if not isinstance(answer, dict) or not isinstance(answer.get("records"), list):
        raise Transient("Salesforce answered a query with something that is no list of records.")
    # /services/data/vXX.X/query/01g…: what follows the version is the path.
    after = "" if answer.get("done", True) else str(answer["nextRecordsUrl"]).split("/", 4)[4]
    return list(answer["records"]), after


async def select_in(
    client: SalesforceClient,
    soql: str,
    values: Sequence[str],
    *,
    deleted: bool = False,
) -> list[dict[str, Any]]:
    """The records of a query with one `{}` for a list of values, in as few calls as their length allows."""
    records: list[dict[str, Any]] = []
    for chunk in _chunks(values):
        records += await select(client, format_soql(soql, chunk), deleted=deleted)
    return records


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    length = 0
    for value in dict.fromkeys(values):
        size = len(quote_plus(f"'{value}',", errors="replace"))
        if chunk and length + size > _LONGEST_LIST:
            yield chunk
            chunk, length = [], 0
        chunk.append(value)
        length += size
    if chunk:
        yield chunk

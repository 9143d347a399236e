"""Record ids. The last three of 18 characters only repeat the case of the first 15, and either form is an id.

https://help.salesforce.com/s/articleView?id=000385585 (15-character and 18-character ids).
"""

from __future__ import annotations


def bare(record_id: str) -> str:
    """What tells two records apart, whichever form their ids came in."""
    return record_id[:15] if len(record_id) == 18 else record_id

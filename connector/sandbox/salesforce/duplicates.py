"""Duplicate rules, and the details of a match as the REST API shows them.

https://developer.salesforce.com/docs/platform/api-rest/guide/headers-duplicaterules.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connector.sandbox.salesforce.config import DuplicateRule, SalesforceConfig
from connector.sandbox.salesforce.errors import RowError
from connector.sandbox.salesforce.records import Record, Table
from connector.sandbox.salesforce.values import Values


def check_duplicates(
    config: SalesforceConfig, table: Table, values: Values, *, but: str | None, allow_save: bool
) -> None:
    """Raise `RowError` when a rule of this org matches. `but`: the record that is written itself."""
    for rule in config.duplicate_rules:
        wanted = values.get(rule.field)
        if rule.sobject != table.sobject.name or not isinstance(wanted, str):
            continue
        matches = [
            record
            for record in table.live()
            if record.id != but and record.text(rule.field).lower() == wanted.lower()
        ]
        if matches and not (rule.action == "alert" and allow_save):
            raise RowError(
                code="DUPLICATES_DETECTED",
                message="Use one of these records?",
                extra={config.duplicate_key: _details(rule, matches)},
            )


def _details(rule: DuplicateRule, matches: Iterable[Record]) -> dict[str, Any]:
    records = [
        {
            "additionalInformation": [],
            "fieldDiffs": [],
            "matchConfidence": 100.0,
            "record": {
                "attributes": {
                    "type": rule.sobject,
                    "url": f"/services/data/v67.0/sobjects/{rule.sobject}/{match.id}",
                },
                "Id": match.id,
            },
        }
        for match in matches
    ]
    return {
        "allowSave": rule.action == "alert",
        "duplicateRule": rule.name,
        "duplicateRuleEntityType": rule.sobject,
        "errorMessage": "Use one of these records?",
        "matchResults": [
            {
                "entityType": rule.sobject,
                "errors": [],
                "matchEngine": "ExactMatchEngine",
                "matchRecords": records,
                "rule": rule.name,
                "size": len(records),
                "success": True,
            }
        ],
    }

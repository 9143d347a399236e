"""The simulated account's templates in the outbound role's tables, as a reading of Graph leaves them."""

from datetime import datetime
from typing import Any

from connector.outbound.store.account_syncs import note_read
from connector.outbound.store.templates import fold_changes
from connector.outbound.templates.reading import node_change
from connector.sandbox.whatsapp.templates import standard_templates

_FIELDS = ("id", "name", "language", "status", "category", "parameter_format", "components", "quality_score")


async def list_templates(connection: Any, *, account: str, at: datetime) -> None:
    """Read them all at a time."""
    nodes = [template.node(_FIELDS) for template in standard_templates()]
    changes = [node_change(node, waba_id=account, asked_at=at) for node in nodes]
    await fold_changes(connection, [change for change in changes if change is not None])
    await note_read(connection, account, asked_at=at, templates=len(nodes))

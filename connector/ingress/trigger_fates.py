"""What became of a trigger: the outbound role's tables, read by `GET /triggers/{trigger_id}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class TriggerFates(Protocol):
    """Where a trigger's sends can be looked up."""

    async def fate_of(self, trigger_id: str, *, client: str) -> Mapping[str, Any] | None:
        """`{trigger_id, recipients: [{send_id, status, …}], …}`; None when this client has no such trigger there.

        Raises `ConnectorError` when the state cannot be read.
        """
        ...

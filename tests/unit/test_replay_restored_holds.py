"""People whom a plan makes anew, as they are when the plan is applied."""

from typing import Any

import pytest

from connector.recovery.replay.items import Act
from connector.recovery.replay.marking import hold_after
from connector.sync.core.holding import Hold, HoldRules

PHONE = "+5511987654321"


@pytest.mark.parametrize(
    ("phone", "erased", "expected"),
    [
        pytest.param("", True, Hold.ERASED, id="erased"),
        pytest.param("", False, None, id="deleted"),
        pytest.param(PHONE, True, Hold.LOOKUP, id="erased-with-a-phone-to-look-up"),
        pytest.param(PHONE, False, Hold.LOOKUP, id="deleted-with-a-phone-to-look-up"),
    ],
)
def test_whoever_was_erased_since_the_plan_was_made_is_not_made_anew(
    phone: str, *, erased: bool, expected: Hold | None
) -> None:
    """A restoring plan creates who was deleted; who was erased meanwhile stays away, or is only looked for."""
    facts: dict[str, Any] = {"bsuid": ["BR.abc", 1], **({"phone": [phone, 1]} if phone else {})}
    row = {"held": None, "record_id": None, "looked_up_phone": None, "erased": erased, "facts": facts}
    assert hold_after(row, facts, Act.RESTORE, HoldRules()) is expected

"""Which of the business's numbers a send leaves from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.whatsapp.numbers import bare_number


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnNumber:
    """A number of the business, as Meta told it."""

    phone_number_id: str
    display_phone: str = ""


def sending_number(asked: str, *, numbers: Sequence[OwnNumber], default: str) -> str:
    """The phone number id; "" when nothing that is known answers it. `asked`: an id or a number, "" for the default.

    Without a default it is the only number there is.
    """
    if asked:
        digits = bare_number(asked)
        for number in numbers:
            if digits == number.phone_number_id or digits == bare_number(number.display_phone):
                return number.phone_number_id
        return digits if digits == default else ""
    if default:
        return default
    return numbers[0].phone_number_id if len(numbers) == 1 else ""

"""Last-writer-wins registers: the smallest thing that folds the same in any order.

A register is `[value, milliseconds]` in JSON. The later time wins; at the same time the larger value, so that
two folds of the same events in different orders agree to the letter.
"""

from __future__ import annotations

from typing import Any

Register = list[Any]


def latest(left: Register, right: Register) -> Register:
    """The winner of two registers."""
    return right if (right[1], str(right[0])) > (left[1], str(left[0])) else left

"""Last-writer-wins registers: the smallest thing that folds the same in any order.

A register is `[value, milliseconds]` in JSON. The later time wins; at the same time the larger value, so that
two folds of the same events in different orders agree to the letter.
"""

from __future__ import annotations

from typing import Any

Register = list[Any]


def latest(left: Register | None, right: Register | None) -> Register | None:
    """The winner of two registers; None is "never set"."""
    if left is None or right is None:
        return right if left is None else left
    return right if (right[1], str(right[0])) > (left[1], str(left[0])) else left


def earliest_number(left: int | None, right: int | None) -> int | None:
    """The smaller of two numbers, None being "never set"."""
    if left is None or right is None:
        return right if left is None else left
    return min(left, right)


def largest_number(left: int | None, right: int | None) -> int | None:
    """The larger of two numbers, None being "never set"."""
    if left is None or right is None:
        return right if left is None else left
    return max(left, right)

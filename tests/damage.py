"""Webhooks as nobody sends them: well-formed ones with parts missing, of wrong types, too deep, huge, or twice.

The same bases, count and seed give the same bodies, byte for byte.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

_WAMID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]+")
_DIGITS = re.compile(r"[0-9]{10,15}")
_BSUID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9]{4,128}")
_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**63,
    10**40,
    0.5,
    1e300,
    "",
    " ",
    "null",
    "0",
    "wamid.",
    "\x00",
    "\ud83d",
    "👩🏽‍🚀" * 3,
    "\u202eabc",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    [],
    {},
    [[]],
    [None],
    {"": ""},
)
_PEOPLE = 300

LARGEST = 3 * 1024 * 1024
"""Bytes of a POST: Meta's own bound. What is larger than the ingress takes is answered 413, and lost."""

Slot = tuple[Any, Any]
"""A container and the key or index of one of its places."""


def damaged(bases: Sequence[dict[str, Any]], *, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` bodies. Some are what they were, most are damaged in one to four places."""
    random = Random(f"damage {seed}")
    for number in range(count):
        body = _one(random.choice(bases), number, random)
        while len(body) > LARGEST:
            body = _one(random.choice(bases), number, random)
        yield body


def _one(base: dict[str, Any], number: int, random: Random) -> bytes:
    document = copy.deepcopy(base)
    if random.random() < 0.85:  # the rest repeats ids that came before
        document = _as_new(document, number, random)
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        random.choices(_ACTS, weights=_WEIGHTS)[0](document, random)
    return _spoilt(json.dumps(document).encode(), random)


def _as_new(document: dict[str, Any], number: int, random: Random) -> dict[str, Any]:
    """Another conversation of the same course: its own messages, and one of a few hundred people."""
    person = random.randrange(_PEOPLE)
    text = json.dumps(document)
    business = set(re.findall(r'"(?:display_phone_number|phone_number_id)": "([0-9]+)"', text))
    accounts = set(re.findall(r'"id": "([0-9]{10,})", "(?:time|changes)"', text))

    def another(match: re.Match[str]) -> str:
        digits = match[0]
        if digits in business | accounts or match.string[match.start() - 1] != '"':
            return digits
        return f"1555{person:03d}{int(digits) % 10_000:04d}"

    text = _DIGITS.sub(lambda match: another(match) if len(match[0]) >= 11 else match[0], text)
    text = _WAMID.sub(lambda match: f"wamid.{number}X{abs(_steady(match[0])):x}", text)
    text = _BSUID.sub(lambda match: f"{match[0][:2]}.{person}x{abs(_steady(match[0])) % 10**6}", text)
    found: dict[str, Any] = json.loads(text)
    return found


def _steady(text: str) -> int:
    return int.from_bytes(text.encode()[-24:], "big") % (2**61 - 1)


def _slots(document: Any) -> list[Slot]:
    """Every place of a document, below its first level where there is one."""
    found: list[Slot] = []
    pending = [document]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                pending.append(container[key])
    return found


def _any_slot(document: Any, random: Random, *, of: type | tuple[type, ...] = object) -> Slot | None:
    found = [slot for slot in _slots(document) if isinstance(slot[0][slot[1]], of)]
    return random.choice(found) if found else None


def _drop(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random):
        del slot[0][slot[1]]


def _replace(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random):
        slot[0][slot[1]] = copy.deepcopy(random.choice(_ODD_VALUES))


def _wrap(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random):
        for _ in range(random.choice((1, 1, 2, 5, 40))):
            inner = slot[0][slot[1]]
            slot[0][slot[1]] = (
                [inner] if random.random() < 0.5 else {random.choice(("value", "0", "")): inner}
            )


def _unwrap(document: Any, random: Random) -> None:
    """A lone object where a list is meant, or the first of an object's values where it is."""
    if slot := _any_slot(document, random, of=(list, dict)):
        content = slot[0][slot[1]]
        inner = list(content.values()) if isinstance(content, dict) else content
        if inner:
            slot[0][slot[1]] = inner[0]


def _repeat(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random, of=list):
        content = slot[0][slot[1]]
        if content:
            content.extend(copy.deepcopy(random.choice(content)) for _ in range(random.choice((1, 2, 30))))


def _swap(document: Any, random: Random) -> None:
    """Two values change places: ids under other names, texts for objects."""
    one, other = _any_slot(document, random), _any_slot(document, random)
    if one and other:
        first, second = one[0][one[1]], other[0][other[1]]
        one[0][one[1]] = copy.deepcopy(second)
        if other[1] in other[0] if isinstance(other[0], dict) else other[1] < len(other[0]):
            other[0][other[1]] = copy.deepcopy(first)


def _rename(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random):
        container, key = slot
        if isinstance(container, dict):
            container[random.choice((f"{key}2", str(key).upper(), "", "@envelope", "id", "type"))] = (
                container.pop(key)
            )


def _add(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random, of=dict):
        slot[0][slot[1]][f"new_{random.randrange(10**6)}"] = copy.deepcopy(random.choice(_ODD_VALUES))


def _enlarge(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random, of=str):
        piece = random.choice(("x", "é", "😮", "\n", "\x07", "\\", '"'))
        slot[0][slot[1]] = piece * random.choice((300, 5_000, 70_000, 200_000))


def _deepen(document: Any, random: Random) -> None:
    if slot := _any_slot(document, random):
        for _ in range(random.choice((60, 200, 240, 400))):
            slot[0][slot[1]] = [slot[0][slot[1]]]


def _retime(document: Any, random: Random) -> None:
    found = [slot for slot in _slots(document) if slot[1] in ("timestamp", "time")]
    if found:
        container, key = random.choice(found)
        container[key] = random.choice(
            ("asdf", "", "1777626000000", 1777626000, "-1", "99999999999999", 0, None, 1777626000.5)
        )


_ACTS: tuple[Callable[[Any, Random], None], ...] = (
    _drop,
    _replace,
    _wrap,
    _unwrap,
    _repeat,
    _swap,
    _rename,
    _add,
    _enlarge,
    _deepen,
    _retime,
)
_WEIGHTS = (20, 20, 10, 8, 8, 8, 8, 6, 5, 2, 5)


def _spoilt(body: bytes, random: Random) -> bytes:
    """Now and then the bytes themselves are no JSON text, or no UTF-8."""
    chance = random.random()
    if chance < 0.005:
        return body[: random.randrange(1, len(body))]
    if chance < 0.0075:
        return body.replace(b'"', b"'", 3)
    if chance < 0.01:
        return body[:-1] + b"\xff}"
    return body

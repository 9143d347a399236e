"""What a CRM says about an error, fit for logs and health: without the values of a person's record.

CRMs repeat the value that they refuse. A dead letter keeps the whole text, as it is read by whoever mends it.
"""

from __future__ import annotations

import re

_HIDDEN = "***"
_PARTS = re.compile(
    r"""
    (?P<kept>
        \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b  # an id of ours, or of a request
      | (?P<quote>\\*["'])(?:\w+__c|(?:hs|whatsapp)_\w+|[A-Z]+_[A-Z_]+)(?P=quote)       # a field, property or code
      | "\w+"(?=:)                                                             # a name in JSON
    )
  | (?P<quoted>(?:(?<=[\s:=(,\[{])|(?<=^))\\*"[^"]*"|(?<!\w)'[^'\n]*'(?!\w))
  | (?P<email>[^\s@"'<>(),;:=]+@[^\s@"'<>(),;:]+\.\w+)
  | (?P<value>\bvalue=[^,}\n]*)
  | (?P<refused>(?:(?<=:\ )|^)[^:"'\n]{1,200}?(?=\ was\ not\ (?:one\ of|a\ valid)\b))
  | (?P<digits>(?<![\w.])\+?\d[\d\s().\-/]{5,}\d(?!\w))                            # phones, dates, record ids
    """,
    re.VERBOSE,
)


def readable(text: str) -> str:
    """The text with e-mail addresses, numbers of seven digits and more, and quoted values hidden.

    Names of our properties, of fields and codes stay, although they are quoted too: an operator needs them.
    """
    return _PARTS.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    if found["kept"] is not None:
        return found["kept"]
    if found["value"] is not None:
        return f"value={_HIDDEN}"
    if found["quoted"] is not None:
        return f'"{_HIDDEN}"'
    return _HIDDEN

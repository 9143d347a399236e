"""Words by which people stop and start messages: the whole message, normalised, is one of them or nothing is.

"Don't stop sending" is no opt-out, and "STOP!!!" is one. The tables are keywords.yaml; a business can add its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import yaml

from connector.errors import SettingsError
from connector.settings import OutboundSettings

KeywordAction = Literal["opt_out", "opt_out_marketing", "opt_in", "opt_in_marketing"]
ACTIONS: tuple[KeywordAction, ...] = get_args(KeywordAction)

LONGEST_PHRASE = 80
"""Characters; a longer message is no keyword and is not looked at."""

# Letters that people write for one another and that no decomposition joins: alef wasla, the two ya, ta marbuta,
# Persian ya and kaf (on many keyboards the only ones).
_LETTERS = str.maketrans({"ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ـ": "", "ँ": "ं", "ı": "i"})
_NUKTA = "\u093c"
_APOSTROPHES = re.compile(r"['’‘ʼ`´]")
_KEPT_MARKS = (
    "DEVANAGARI",
    "BENGALI",
    "TAMIL",
    "TELUGU",
    "GUJARATI",
    "KANNADA",
    "MALAYALAM",
    "GURMUKHI",
    "THAI",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyword:
    """A recognised phrase. `languages`: those that have it, in the order of the tables."""

    action: KeywordAction
    languages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeywordTables:
    """Normalised phrase → keyword, and what is answered once, by language and action."""

    phrases: Mapping[str, Keyword]
    courtesies: tuple[str, ...]
    """Normalised words that may stand before or after a phrase, the longest first."""
    confirmations: Mapping[str, Mapping[KeywordAction, str]]

    def recognise(self, text: str) -> Keyword | None:
        """What a whole message means; None: it is no keyword."""
        if not text or len(text) > LONGEST_PHRASE:
            return None
        key = normalised(text)
        return self.phrases.get(key) or self.phrases.get(self._blunt(key))

    def _blunt(self, key: str) -> str:
        """Without courtesies at either end."""
        for courtesy in self.courtesies:
            key = key.removeprefix(f"{courtesy} ").removesuffix(f" {courtesy}")
        return key

    def confirmation(self, keyword: Keyword, *, languages: Sequence[str] = ()) -> tuple[str, str]:
        """(language, text) of the answer. `languages`: the person's, best first.

        A phrase of one language is answered in it; one that several share (STOP) in the person's own.
        """
        own = [language.replace("-", "_").partition("_")[0].lower() for language in languages]
        if len(keyword.languages) > 1 or keyword.languages == (_SHARED_LANGUAGE,):
            wanted = [*own, *keyword.languages]
        else:
            wanted = [*keyword.languages, *own]
        language = next(
            (name for name in wanted if keyword.action in self.confirmations.get(name, {})), _SHARED_LANGUAGE
        )
        return language, self.confirmations[language][keyword.action]


# English words are written by people of every language.
_SHARED_LANGUAGE = "en"


def normalised(text: str) -> str:
    """The text as phrases are compared: letters and digits of one form, single spaces, no word twice in a row."""
    decomposed = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", text).translate(_LETTERS)).casefold()
    kept: list[str] = []
    for character in decomposed.translate(_LETTERS):
        category = unicodedata.category(character)
        if category in {"Mn", "Mc", "Me"}:
            if character != _NUKTA and unicodedata.name(character, "").startswith(_KEPT_MARKS):
                kept.append(character)
        elif category[0] in {"L", "N"}:
            kept.append(character)
        elif category != "Cf":  # joiners and direction marks stand within words
            kept.append(" ")
    words = "".join(kept).split()
    once = [word for index, word in enumerate(words) if index == 0 or word != words[index - 1]]
    return unicodedata.normalize("NFC", " ".join(once))


@cache
def keyword_tables() -> KeywordTables:
    """The tables that ship with the connector."""
    text = files("connector.outbound.consent").joinpath("keywords.yaml").read_text("utf-8")
    return read_tables(yaml.safe_load(text))


def tables_with_own(settings: OutboundSettings) -> KeywordTables:
    """The tables with the words that the settings add.

    Raises:
        SettingsError: one of them means something else already, or nothing.

    """
    own: dict[KeywordAction, list[str]] = {
        "opt_out": settings.opt_out_words,
        "opt_out_marketing": settings.opt_out_marketing_words,
        "opt_in": settings.opt_in_words,
        "opt_in_marketing": settings.opt_in_marketing_words,
    }
    try:
        return with_phrases(keyword_tables(), own)
    except ValueError as error:
        raise SettingsError(
            f"The words of CONNECTOR_OUTBOUND__OPT_OUT_WORDS and its neighbours are refused: {error}.",
            advice="take the word out, or put it under the other action",
        ) from None


def read_tables(document: Mapping[str, Any]) -> KeywordTables:
    """Tables from their document.

    Raises:
        ValueError: a phrase means two things, says nothing, or is too long; a language lacks a confirmation.

    """
    found: dict[str, Keyword] = {}
    confirmations: dict[str, dict[KeywordAction, str]] = {}
    courtesies: set[str] = set()
    for language, part in document.items():
        for action in ACTIONS:
            for phrase in part.get(action, ()):
                _add(found, str(phrase), action=action, language=language)
        courtesies |= {normalised(str(words)) for words in part.get("courtesies", ())}
        answers = part.get("confirmations", {})
        if missing := [action for action in ACTIONS if not answers.get(action)]:
            raise ValueError(f"the language {language} has no confirmation of {', '.join(missing)}")
        confirmations[language] = {action: answers[action] for action in ACTIONS}
    longest_first = tuple(sorted(courtesies, key=lambda words: (-len(words), words)))
    return KeywordTables(phrases=found, courtesies=longest_first, confirmations=confirmations)


def with_phrases(tables: KeywordTables, phrases: Mapping[KeywordAction, Iterable[str]]) -> KeywordTables:
    """The tables with a business's own phrases, which are answered in the person's language.

    Raises:
        ValueError: as for `read_tables`.

    """
    found = dict(tables.phrases)
    for action, own in phrases.items():
        for phrase in own:
            _add(found, phrase, action=action, language=_SHARED_LANGUAGE)
    return replace(tables, phrases=found)


def _add(found: dict[str, Keyword], phrase: str, *, action: KeywordAction, language: str) -> None:
    key = normalised(phrase)
    if not key or len(phrase) > LONGEST_PHRASE:
        raise ValueError(f"the keyword {phrase!r} says nothing, or has more than {LONGEST_PHRASE} characters")
    known = found.get(key)
    if known is None:
        found[key] = Keyword(action=action, languages=(language,))
    elif known.action != action:
        raise ValueError(f"the keyword {phrase!r} means both {known.action} and {action}")
    elif language not in known.languages:
        found[key] = Keyword(action=action, languages=(*known.languages, language))

"""Which language of a template a person gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connector.outbound.templates.reading import language_code
from connector.outbound.templates.template import Template


def chosen(
    templates: Sequence[Template],
    *,
    asked: str = "",
    contact: Sequence[str] = (),
    fallbacks: Iterable[str] = (),
) -> Template | None:
    """The language version to send, of all versions of one template.

    `asked`: what the trigger says; then it is that one or None. Else the contact's own languages, best first, then
    the fall-backs. A language that has no exact version takes one without a country, or, if it names no country
    itself, any country's: pt takes pt_BR, pt_BR takes pt, and pt_PT does not take pt_BR. What may be sent goes before
    what may not; of those that may not the first is returned, so that the gate can say why.
    """
    if asked:
        code = language_code(asked)
        return next((item for item in templates if item.language == code), None)
    wanted = list(dict.fromkeys(code for name in (*contact, *fallbacks) if (code := language_code(name))))
    candidates = [item for language in wanted for item in _versions(templates, language)]
    return next((item for item in candidates if item.sendable), candidates[0] if candidates else None)


def _versions(templates: Sequence[Template], language: str) -> list[Template]:
    exact = [item for item in templates if item.language == language]
    near = [item for item in templates if item.language != language and _is_near(item.language, language)]
    return exact + sorted(near, key=lambda item: item.language)


def _is_near(theirs: str, ours: str) -> bool:
    language, _, country = theirs.partition("_")
    our_language, _, our_country = ours.partition("_")
    return language == our_language and not (country and our_country)

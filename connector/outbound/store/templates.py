"""Templates: each one whole, folded from what Graph lists and what webhooks tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from connector.outbound.templates.template import Template, TemplateChange, TemplateKey, folded
from connector.state.database import Connection

_SAVE = """
INSERT INTO outbound.templates (waba_id, name, language, document)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[])
ON CONFLICT (waba_id, name, language) DO UPDATE SET document = excluded.document
"""
_LOCK = """
SELECT document FROM outbound.templates WHERE (waba_id, name, language) IN
    (SELECT * FROM unnest($1::text[], $2::text[], $3::text[])) ORDER BY waba_id, name, language FOR UPDATE
"""
_RESERVE = """
INSERT INTO outbound.templates (waba_id, name, language, document)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[]) ON CONFLICT DO NOTHING
"""

_Key = tuple[str, str, str]


async def fold_changes(connection: Connection, changes: Iterable[TemplateChange]) -> list[Template]:
    """Fold changes into the templates they name; those that are different now. In any order, any number of times."""
    told = sorted(changes, key=lambda change: (_key(change), change.at))
    keys = sorted({_key(change) for change in told})
    if not keys:
        return []
    blank = [
        Template(waba_id=waba_id, name=name, language=language).model_dump(mode="json")
        for waba_id, name, language in keys
    ]
    columns = _columns(keys)
    await connection.execute(_RESERVE, *columns, blank)
    rows = await connection.fetch(_LOCK, *columns)
    before = {_key(template): template for template in map(_template, rows)}
    after = dict(before)
    for change in told:
        after[_key(change)] = folded(after.get(_key(change)), change)
    changed = [after[key] for key in keys if after[key] != before.get(key)]
    if changed:
        await connection.execute(
            _SAVE,
            *_columns([_key(template) for template in changed]),
            [template.model_dump(mode="json") for template in changed],
        )
    return changed


async def listed_before(connection: Connection, waba_id: str) -> list[TemplateKey]:
    """The templates of an account that are not known to be deleted."""
    rows = await connection.fetch(
        "SELECT waba_id, name, language FROM outbound.templates WHERE waba_id = $1 AND status <> 'DELETED'",
        waba_id,
    )
    return [TemplateKey(**dict(row)) for row in rows]


async def load_templates(connection: Connection, names: Collection[str]) -> list[Template]:
    """Every language of these templates, in all accounts."""
    rows = await connection.fetch(
        "SELECT document FROM outbound.templates WHERE name = ANY($1::text[]) ORDER BY waba_id, name, language",
        sorted(names),
    )
    return [_template(row) for row in rows]


def _key(template: TemplateKey) -> _Key:
    return template.waba_id, template.name, template.language


def _columns(keys: Sequence[_Key]) -> tuple[list[str], list[str], list[str]]:
    return [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]


def _template(row: Any) -> Template:
    return Template.model_validate(row["document"])

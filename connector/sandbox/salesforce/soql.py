"""A small SOQL: SELECT fields and child subqueries FROM one object WHERE conditions, LIMIT.

https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm.
Conditions are `field = value`, `field != value`, `field IN (values)`, `field LIKE 'pattern'` and, of a time, `>=` and
`<`, joined by AND or by OR; both in one list need parentheses. Texts compare without case, except in a case-sensitive field and in ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce.catalog import SObject
from connector.sandbox.salesforce.errors import RequestError
from connector.sandbox.salesforce.filters import Condition, Group, Literal, field_name, test_of
from connector.sandbox.salesforce.records import Table

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<word>[A-Za-z_][\w.]*)|(?P<number>-?\d[\w:.+-]*)|(?P<mark>!=|>=|[(),=<]))"
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_RESERVED = frozenset({"from", "where", "and", "or", "like", "limit", "in", "select"})
_LONGEST = 100_000
_MOST_CHILDREN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A parsed query; `children` are subqueries, whose `source` is a relationship name."""

    fields: Sequence[str]
    children: Sequence[Query]
    source: str
    conditions: Group
    limit: int | None


def parse(text: str) -> Query:
    """Parse a query.

    Raises:
        RequestError: it is malformed, or beyond this subset.

    """
    if len(text) > _LONGEST:
        raise _malformed(f"query string too long: {len(text)}")
    parser = _Parser(_tokens(text))
    query = parser.query()
    parser.end()
    return query


def run(query: Query, tables: Mapping[str, Table], *, deleted: bool, version: str) -> list[dict[str, Any]]:
    """The records of a query, oldest first.

    Raises:
        RequestError: an object or field is not there for this user.

    """
    table = next((item for name, item in tables.items() if name.lower() == query.source.lower()), None)
    if table is None:
        raise RequestError(
            status=400,
            code="INVALID_TYPE",
            message=f"sObject type '{query.source}' is not supported. If you are attempting to use a custom "
            "object, be sure to append the '__c' after the entity name.",
        )
    return _select(query, table, tables, deleted=deleted, version=version)


def _select(
    query: Query, table: Table, tables: Mapping[str, Table], *, deleted: bool, version: str
) -> list[dict[str, Any]]:
    sobject = table.sobject
    names = [field_name(sobject, name) for name in query.fields]
    passes = test_of(sobject, query.conditions)
    children = [(child, *_child(sobject, child, tables)) for child in query.children]
    found: list[dict[str, Any]] = []
    for record in table if deleted else table.live():
        if query.limit is not None and len(found) >= query.limit:
            break
        if not passes(record):
            continue
        url = f"/services/data/v{version}/sobjects/{sobject.name}/{record.id}"
        row: dict[str, Any] = {"attributes": {"type": sobject.name, "url": url}}
        row |= {name: record.values.get(name) for name in names}
        for child, child_table, on in children:
            owned = Condition(field=on, values=(record.id,))
            inner = Query(
                fields=child.fields,
                children=(),
                source=child.source,
                conditions=Group(parts=(child.conditions, owned)),
                limit=child.limit,
            )
            rows = _select(inner, child_table, tables, deleted=False, version=version)
            row[child.source] = {"totalSize": len(rows), "done": True, "records": rows} if rows else None
        found.append(row)
    return found


def _child(sobject: SObject, child: Query, tables: Mapping[str, Table]) -> tuple[Table, str]:
    found = sobject.children.get(child.source)
    if found is None or found[0] not in tables:
        raise RequestError(
            status=400,
            code="INVALID_TYPE",
            message=f"Didn't understand relationship '{child.source}' in FROM part of query call.",
        )
    return tables[found[0]], found[1]


def _malformed(message: str) -> RequestError:
    return RequestError(status=400, code="MALFORMED_QUERY", message=message)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _malformed(f"unexpected token: '{text[place : place + 20]}'")
        assert match.lastgroup is not None
        tokens.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0

    def query(self) -> Query:
        self._keyword("select")
        fields: list[str] = []
        children: list[Query] = []
        while True:
            if self._mark("("):
                children.append(self.query())
                if len(children) > _MOST_CHILDREN:
                    raise _malformed(f"a query may have at most {_MOST_CHILDREN} child subqueries")
                self._expect(")")
            else:
                fields.append(self._name())
            if not self._mark(","):
                break
        self._keyword("from")
        source = self._name()
        conditions = self._conditions() if self._word("where") else Group(parts=())
        limit = None
        if self._word("limit"):
            kind, value = self._next()
            if kind != "number" or not value.isdigit():
                raise _malformed(f"unexpected token: '{value}'")
            limit = int(value)
        return Query(
            fields=tuple(fields),
            children=tuple(children),
            source=source,
            conditions=conditions,
            limit=limit,
        )

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise _malformed(f"unexpected token: '{self._tokens[self._place][1]}'")

    def _conditions(self) -> Group:
        parts = [self._part()]
        word = ""
        while (joined := "and" if self._word("and") else "or" if self._word("or") else "") != "":
            if word and joined != word:
                raise _malformed(f"unexpected token: '{joined}'")
            word = joined
            parts.append(self._part())
        return Group(parts=tuple(parts), any=word == "or")

    def _part(self) -> Condition | Group:
        if self._mark("("):
            group = self._conditions()
            self._expect(")")
            return group
        return self._condition()

    def _condition(self) -> Condition:
        field = self._name()
        if self._word("like"):
            kind, _ = self._tokens[self._place] if self._place < len(self._tokens) else ("", "")
            if kind != "text":
                raise _malformed("LIKE takes a text")
            return Condition(field=field, values=(self._literal(like=True),), like=True)
        if self._word("in"):
            self._expect("(")
            values = [self._literal()]
            while self._mark(","):
                values.append(self._literal())
            self._expect(")")
            return Condition(field=field, values=tuple(values))
        if self._mark("!="):
            return Condition(field=field, values=(self._literal(),), negated=True)
        for mark in (">=", "<"):
            if self._mark(mark):
                if self._place < len(self._tokens) and self._tokens[self._place][0] == "text":
                    raise RequestError(
                        status=400,
                        code="INVALID_FIELD",
                        message=f"value of filter criterion for field '{field}' must be of type dateTime and should not be "
                        "enclosed in quotes",
                    )
                return Condition(field=field, values=(self._literal(),), order=mark)
        self._expect("=")
        return Condition(field=field, values=(self._literal(),))

    def _literal(self, *, like: bool = False) -> Literal:
        kind, value = self._next()
        if kind == "text" and like:  # the pattern reads its own backslashes before % and _
            return re.sub(r"\\([^%_])", lambda match: _ESCAPES.get(match[1], match[1]), value[1:-1])
        if kind == "text":
            return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), value[1:-1])
        if kind == "number":
            return int(value) if value.lstrip("-").isdigit() else value
        constants: dict[str, Literal] = {"true": True, "false": False, "null": None}
        if kind == "word" and value.lower() in constants:
            return constants[value.lower()]
        raise _malformed(f"unexpected token: '{value}'")

    def _name(self) -> str:
        kind, value = self._next()
        if kind != "word" or value.lower() in _RESERVED:
            raise _malformed(f"unexpected token: '{value}'")
        return value

    def _keyword(self, word: str) -> None:
        if not self._word(word):
            raise _malformed(f"expecting '{word}'")

    def _expect(self, mark: str) -> None:
        if not self._mark(mark):
            raise _malformed(f"expecting '{mark}'")

    def _word(self, word: str) -> bool:
        return self._take("word", word)

    def _mark(self, mark: str) -> bool:
        return self._take("mark", mark)

    def _take(self, kind: str, value: str) -> bool:
        if self._place < len(self._tokens):
            found, text = self._tokens[self._place]
            if found == kind and text.lower() == value:
                self._place += 1
                return True
        return False

    def _next(self) -> tuple[str, str]:
        if self._place >= len(self._tokens):
            raise _malformed("unexpected end of query")
        token = self._tokens[self._place]
        self._place += 1
        return token

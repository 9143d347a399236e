"""Associations between records: inline in a create, in batches, in reads.

developers.hubspot.com/docs/api-reference/crm-associations-v4/guide. Types are directed: 81 leads from
a communication to a contact, 82 back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connector.sandbox.hubspot.batches import Outcome
from connector.sandbox.hubspot.catalog import SINGULAR, TYPE_IDS
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.errors import Problem, not_found, refuse
from connector.sandbox.hubspot.records import RecordStore
from connector.sandbox.journal import Effect

TYPES = {("communications", "contacts"): 81, ("contacts", "communications"): 82}
"""The default association type of each direction (documented list of type ids)."""
CREATE_LIMIT = 2_000
READ_LIMIT = 1_000
"""Inputs of a batch (documented; reads since February 2025)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A directed association between two records."""

    from_type: str
    from_id: str
    to_type: str
    to_id: str

    def starting_at(self, from_id: str) -> Link:
        """Return the same link from another record."""
        return replace(self, from_id=from_id)


class AssociationGraph:
    """All associations of a portal. Each is kept in both directions, as HubSpot shows it."""

    def __init__(self, stores: Mapping[str, RecordStore], *, config: HubSpotConfig) -> None:
        self._stores = stores
        self._config = config
        self._edges: dict[tuple[str, str, str], dict[str, None]] = {}
        self.effects: list[Effect] = []

    def of(self, from_type: str, from_id: str, to_type: str) -> list[str]:
        """Return the ids associated with a record, in order of association."""
        return list(self._edges.get((from_type, from_id, to_type), ()))

    def add(self, link: Link) -> None:
        """Associate two records; a repetition changes nothing."""
        self._edges.setdefault((link.from_type, link.from_id, link.to_type), {})[link.to_id] = None
        self._edges.setdefault((link.to_type, link.to_id, link.from_type), {})[link.from_id] = None
        self.effects.append(
            Effect(
                action="associated",
                object_type=f"{link.from_type}_{link.to_type}",
                record_id=f"{link.from_id}:{link.to_id}",
            )
        )

    def remove(self, link: Link) -> None:
        """Dissociate two records."""
        self._edges.get((link.from_type, link.from_id, link.to_type), {}).pop(link.to_id, None)
        self._edges.get((link.to_type, link.to_id, link.from_type), {}).pop(link.from_id, None)
        self.effects.append(
            Effect(
                action="dissociated",
                object_type=f"{link.from_type}_{link.to_type}",
                record_id=f"{link.from_id}:{link.to_id}",
            )
        )

    def remove_record(self, object_type: str, record_id: str) -> None:
        """Dissociate a record from everything."""
        for link in self._links_of(object_type, record_id):
            self.remove(link)

    def move(self, object_type: str, old_id: str, new_id: str) -> None:
        """Give all associations of a record to another one (a merge)."""
        for link in self._links_of(object_type, old_id):
            self._edges[link.from_type, link.from_id, link.to_type].pop(link.to_id)
            self._edges[link.to_type, link.to_id, link.from_type].pop(link.from_id)
            self.add(link.starting_at(new_id))

    def parse_inline(self, from_type: str, associations: Sequence[Mapping[str, Any]]) -> list[Link]:
        """Return the links that a create asks for, from a record that has no id yet.

        Raises:
            HubSpotError: 400, an association type of another direction or an unknown record.

        """
        links = []
        for association in associations:
            try:
                to_id = str(association["to"]["id"])
                types = list(association["types"])
            except (KeyError, TypeError):
                raise refuse("Invalid input JSON: an association needs `to.id` and `types`.") from None
            to_type = self._target_type(from_type, types)
            record = self._stores[to_type].get(to_id)
            if record is None:
                raise refuse(
                    f"The following {SINGULAR[to_type]} ids are not valid or do not exist: [{to_id}]",
                    ids=[to_id],
                )
            links.append(Link(from_type=from_type, from_id="", to_type=to_type, to_id=record.id))
        return links

    def create(self, from_type: str, to_type: str, document: Any, *, default: bool) -> Outcome:
        """Associate up to 2,000 pairs; unknown ids are errors[] beside the good pairs (observed).

        `default` is the endpoint without types in its inputs.

        Raises:
            HubSpotError: 400, the request is malformed or names a wrong type; nothing was written.

        """
        links = []
        for item in _inputs(document, CREATE_LIMIT):
            if not default:
                self._check_types(from_type, to_type, item.get("types") or [])
            links.append(_link(from_type, to_type, _id(item, "from"), _id(item, "to")))
        outcome = Outcome(success_status=200 if default else 201)
        for link in links:
            resolved = self._resolved(link)
            if resolved is None:
                outcome.errors.append(_unknown_pair(link))
                continue
            self.add(resolved)
            outcome.results.append(self._created_json(resolved, default=default))
        return outcome

    def archive(self, from_type: str, to_type: str, document: Any) -> None:
        """Dissociate pairs; unknown ones are no error."""
        for item in _inputs(document, CREATE_LIMIT):
            targets = item.get("to") or []
            for target in targets if isinstance(targets, list) else [targets]:
                link = self._resolved(_link(from_type, to_type, _id(item, "from"), str(target.get("id"))))
                if link is not None:
                    self.remove(link)

    def read(self, from_type: str, to_type: str, document: Any) -> Outcome:
        """Read the associations of up to 1,000 records, a page each; records without any are errors[]."""
        outcome = Outcome()
        for item in _inputs(document, READ_LIMIT):
            from_id = str(item.get("id", ""))
            record = self._stores[from_type].get(from_id)
            to_ids = self.of(from_type, record.id, to_type) if record else []
            if record is None or not to_ids:
                outcome.errors.append(_no_associations(from_type, from_id, to_type))
                continue
            page = self.page(from_type, to_type, to_ids, after=item.get("after"))
            outcome.results.append({"from": {"id": from_id}, "to": page.pop("results"), **page})
        return outcome

    def list_of(
        self, from_type: str, from_id: str, to_type: str, *, after: str | None, limit: int | None
    ) -> dict[str, Any]:
        """Return a page of one record's associations.

        Raises:
            HubSpotError: 404, there is no such record.

        """
        record = self._stores[from_type].get(from_id)
        if record is None:
            raise not_found()
        return self.page(from_type, to_type, self.of(from_type, record.id, to_type), after=after, limit=limit)

    def page(
        self,
        from_type: str,
        to_type: str,
        to_ids: Sequence[str],
        *,
        after: str | None = None,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return results and paging; `paging` is absent on the last page (documented)."""
        start = int(after) if after and after.isdecimal() else 0
        end = start + min(limit or self._config.association_page, self._config.association_page)
        type_id = TYPES[from_type, to_type]
        kinds = [{"category": "HUBSPOT_DEFINED", "typeId": type_id, "label": None}]
        page: dict[str, Any] = {
            # An integer on v4 paths, a string by the newer specification: clients must take either.
            "results": [{"toObjectId": int(to_id), "associationTypes": kinds} for to_id in to_ids[start:end]]
        }
        if end < len(to_ids):
            page["paging"] = {"next": {"after": str(end)}}
        return page

    def _links_of(self, object_type: str, record_id: str) -> list[Link]:
        return [
            Link(from_type=object_type, from_id=record_id, to_type=to_type, to_id=to_id)
            for to_type in self._stores
            for to_id in self.of(object_type, record_id, to_type)
        ]

    def _target_type(self, from_type: str, types: Sequence[Any]) -> str:
        for (start, end), type_id in TYPES.items():
            if start == from_type and _type_ids(types) == {type_id}:
                return end
        raise _wrong_type(from_type, types)

    def _check_types(self, from_type: str, to_type: str, types: Sequence[Any]) -> None:
        if _type_ids(types) != {TYPES[from_type, to_type]}:
            raise _wrong_type(from_type, types)

    def _resolved(self, link: Link) -> Link | None:
        start = self._stores[link.from_type].get(link.from_id)
        end = self._stores[link.to_type].get(link.to_id)
        return None if start is None or end is None else replace(link, from_id=start.id, to_id=end.id)

    def _created_json(self, link: Link, *, default: bool) -> dict[str, Any]:
        if not default:
            return {
                "fromObjectTypeId": TYPE_IDS[link.from_type],
                "fromObjectId": int(link.from_id),
                "toObjectTypeId": TYPE_IDS[link.to_type],
                "toObjectId": int(link.to_id),
                "labels": [],
            }
        spec = {
            "associationCategory": "HUBSPOT_DEFINED",
            "associationTypeId": TYPES[link.from_type, link.to_type],
        }
        return {"from": {"id": link.from_id}, "to": {"id": link.to_id}, "associationSpec": spec}


def _inputs(document: Any, limit: int) -> Iterator[Mapping[str, Any]]:
    raw = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(raw, list) or not raw or not all(isinstance(item, dict) for item in raw):
        raise refuse("Invalid input JSON on line 1, column 1: Some required fields were not set: [inputs]")
    if len(raw) > limit:
        raise refuse(
            f"The maximum number of inputs supported in a batch request for associations is {limit}. "
            "Please reduce the number of items and try again."
        )
    yield from raw


def _id(item: Mapping[str, Any], end: str) -> str:
    target = item.get(end)
    if not isinstance(target, dict) or "id" not in target:
        raise refuse(f"Invalid input JSON: an association needs `{end}.id`.")
    return str(target["id"])


def _link(from_type: str, to_type: str, from_id: str, to_id: str) -> Link:
    return Link(from_type=from_type, from_id=from_id, to_type=to_type, to_id=to_id)


def _type_ids(types: Sequence[Any]) -> set[Any]:
    return {
        kind.get("associationTypeId")
        for kind in types
        if isinstance(kind, dict) and kind.get("associationCategory") == "HUBSPOT_DEFINED"
    }


def _wrong_type(from_type: str, types: Sequence[Any]) -> Exception:
    return refuse(f"One or more association types are not valid from {TYPE_IDS[from_type]}: {list(types)}")


def _unknown_pair(link: Link) -> dict[str, Any]:
    return Problem(
        status=404,
        category="OBJECT_NOT_FOUND",
        message="One or both records of an association do not exist.",
        context={"fromObjectId": [link.from_id], "toObjectId": [link.to_id]},
    ).item()


def _no_associations(from_type: str, from_id: str, to_type: str) -> dict[str, Any]:
    return Problem(
        status=404,
        category="OBJECT_NOT_FOUND",
        sub_category="crm.associations.NO_ASSOCIATIONS_FOUND",
        message=f"No {SINGULAR[to_type]} is associated with {SINGULAR[from_type]} {from_id}.",
        context={
            "fromObjectId": [from_id],
            "fromObjectType": [SINGULAR[from_type]],
            "toObjectType": [SINGULAR[to_type]],
        },
    ).item()

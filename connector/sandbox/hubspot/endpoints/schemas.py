"""`/crm-object-schemas/{version}/schemas`: the portal's custom objects
(developers.hubspot.com/docs/api-reference/2026-03/crm/objects/schemas/get-schemas).
"""

from __future__ import annotations

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.routing import CUSTOM_READ, Asked, route


def _list_schemas(asked: Asked) -> Answer:
    config = asked.portal.config
    results = [
        {
            "id": type_id.rpartition("-")[2],
            "objectTypeId": type_id,
            "fullyQualifiedName": f"p{config.portal_id}_object_{place}",
            "name": f"object_{place}",
        }
        for place, type_id in enumerate(config.custom_objects)
    ]
    return Answer(status=200, document={"results": results})


ROUTES = (route("GET", r"/crm-object-schemas/(?P<version>[^/]+)/schemas", _list_schemas, CUSTOM_READ),)

"""`POST /oauth/v2/private-apps/get/access-token-info`: what a private app's token may do; it has no version.

https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview: the token is in the body as `tokenKey`.
"""

from __future__ import annotations

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.errors import refuse
from connector.sandbox.hubspot.routing import (
    CUSTOM_READ,
    READ,
    SCHEMA_READ,
    SCHEMA_WRITE,
    WRITE,
    Asked,
    route,
)

_ALL = (READ, WRITE, SCHEMA_READ, SCHEMA_WRITE, CUSTOM_READ, "automation", "oauth")


def _info(asked: Asked) -> Answer:
    key = asked.exchange.document.get("tokenKey")
    config = asked.portal.config
    for token in config.tokens:
        if token.token == key:
            return Answer(
                status=200,
                document={
                    "userId": 1,
                    "hubId": config.portal_id,
                    "appId": int(token.app_id),
                    "scopes": sorted(_ALL if token.scopes is None else token.scopes),
                },
            )
    raise refuse("The access token is not one of a private app.")


ROUTES = (route("POST", r"/oauth/v2/private-apps/get/access-token-info", _info, ""),)

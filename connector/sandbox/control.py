"""The control side of a simulator, under /_sandbox: faults, journal, state, reset.

| request | effect |
|--|--|
| `GET /_sandbox/journal?path=&method=&status=&caller=&since=&limit=` | calls, newest last; counters; violations |
| `GET /_sandbox/faults` | faults in force |
| `POST /_sandbox/faults` | put one fault (or a list) in force; answers their numbers |
| `DELETE /_sandbox/faults`, `DELETE /_sandbox/faults/{number}` | take them out of force |
| `GET /_sandbox/hubspot/state`, `GET /_sandbox/salesforce/state` | every record, with associations, writers and doubles |
| `POST /_sandbox/limits` | change the CRM's limits while it runs, as an account that buys more calls does |
| `POST /_sandbox/reset` | empty state and journal, no faults; a JSON body changes the configuration |
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.sandbox.faults import Fault, FaultPlan
from connector.sandbox.journal import Journal

Handler = Callable[[Request], Awaitable[Response]]


def control_routes(
    *,
    journal: Journal,
    faults: FaultPlan,
    reset: Callable[[dict[str, Any]], None],
    state: Callable[[], dict[str, Any]],
    state_path: str,
    change_limits: Callable[[dict[str, Any]], None] | None = None,
) -> list[Route]:
    """Return the control routes of one simulator. Without `change_limits` its limits are those it began with."""

    async def read_journal(request: Request) -> Response:
        asked = request.query_params
        calls = list(
            journal.calls(
                method=asked.get("method"),
                path=asked.get("path", "*"),
                status=int(asked["status"]) if "status" in asked else None,
                caller=asked.get("caller"),
                since=int(asked.get("since", "0")),
            )
        )
        limit = int(asked.get("limit", "1000"))
        document = {
            "matching": len(calls),
            "calls": [call.as_json() for call in islice(calls, max(0, len(calls) - limit), None)],
            "counters": dict(journal.counters),
            "violations": [asdict(violation) for violation in journal.violations],
        }
        return JSONResponse(document)

    async def list_faults(_request: Request) -> Response:
        return JSONResponse({"faults": faults.in_force()})

    async def add_faults(request: Request) -> Response:
        document = json.loads(await request.body())
        wanted = [Fault.model_validate(item) for item in _as_list(document)]
        return JSONResponse({"numbers": [faults.add(fault) for fault in wanted]}, status_code=201)

    async def remove_faults(request: Request) -> Response:
        number = request.path_params.get("number")
        if number is None:
            faults.clear()
        else:
            faults.remove(int(number))
        return Response(status_code=204)

    async def show_state(_request: Request) -> Response:
        return JSONResponse(state())

    async def start_over(request: Request) -> Response:
        body = await request.body()
        reset(json.loads(body) if body else {})
        return Response(status_code=204)

    async def set_limits(request: Request) -> Response:
        assert change_limits is not None
        change_limits(json.loads(await request.body()))
        return Response(status_code=204)

    limits = [Route("/_sandbox/limits", _checked(set_limits), methods=["POST"])] if change_limits else []
    return [
        *limits,
        Route("/_sandbox/journal", read_journal),
        Route("/_sandbox/faults", list_faults),
        Route("/_sandbox/faults", _checked(add_faults), methods=["POST"]),
        Route("/_sandbox/faults", remove_faults, methods=["DELETE"]),
        Route("/_sandbox/faults/{number:int}", remove_faults, methods=["DELETE"]),
        Route(state_path, show_state),
        Route("/_sandbox/reset", _checked(start_over), methods=["POST"]),
    ]


def refuse_others(changes: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Raise ValueError when something else than these fields is to be changed."""
    if others := sorted(set(changes) - set(allowed)):
        raise ValueError(f"{', '.join(others)}: no limit; there are {', '.join(sorted(allowed))}")


def _as_list(document: Any) -> list[Any]:
    return document if isinstance(document, list) else [document]


def _checked(handler: Handler) -> Handler:
    """Answer 400 with the reason instead of 500 when the request's JSON is not valid."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except ValidationError as error:
            problems = json.loads(error.json(include_url=False, include_context=False))
            return JSONResponse({"problems": problems}, status_code=400)
        except ValueError as error:
            return JSONResponse({"problems": [str(error)]}, status_code=400)

    return handle

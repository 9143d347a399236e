"""Taps: buttons of templates and of messages, choices of lists, permission to call."""

from __future__ import annotations

from typing import Any

from connector.sync.core.rendering.flow import flow
from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.unknown import unknown
from connector.sync.core.rendering.wording import joined, moment, one_line, paragraph
from connector.whatsapp.lenient import as_object
from connector.whatsapp.timestamps import unix_time


def template_button(version: Version) -> Part:
    """A quick reply under a template. What the button sends to a program may differ from what it shows."""
    button = as_object(part_of(version, "button"))
    text, payload = one_line(button.get("text")), one_line(button.get("payload"))
    details = [f"Payload: {payload}"] if payload and payload != text else []
    return Part(
        label="button tap",
        lines=[f"Tapped “{text or payload}”" if text or payload else "Tapped a button without a text"],
        details=["Button of a template", *details],
    )


def interactive(version: Version) -> Part:
    """By what it holds, not by what its `type` says."""
    content = as_object(part_of(version, "interactive"))
    for name, render in _ANSWERS.items():
        answer = content.get(name)
        if isinstance(answer, dict):
            return render(answer)
    if not content:
        return Part(
            label="interactive message", lines=["An interactive message whose content WhatsApp left out"]
        )
    return unknown(version)


def _button(answer: dict[str, Any]) -> Part:
    return _tap(answer, label="button tap", what="Tapped")


def _list(answer: dict[str, Any]) -> Part:
    return _tap(answer, label="list choice", what="Chose")


def _tap(answer: dict[str, Any], *, label: str, what: str) -> Part:
    title, name = one_line(answer.get("title")), one_line(answer.get("id"))
    lines = [f"{what} “{title or name}”" if title or name else f"{what} something without a text"]
    if description := paragraph(answer.get("description")):
        lines.append(description)
    return Part(label=label, lines=lines, details=[f"Choice: {name}"] if name and name != title else [])


def _call_permission(answer: dict[str, Any]) -> Part:
    response = one_line(answer.get("response"), limit=40).lower()
    said = {"accept": "Allows the business to call", "reject": "Does not allow the business to call"}
    until = unix_time(answer.get("expiration_timestamp"))
    if response == "accept" and answer.get("is_permanent") is True:
        term = "until further notice"
    elif response == "accept" and until is not None:
        term = f"until {moment(int(until.timestamp() * 1000))}"
    else:
        term = ""
    automatic = answer.get("response_source") == "automatic"
    return Part(
        label="call permission",
        lines=[
            joined(said.get(response, f"Answered a request to call: {response or 'nothing'}"), term, by=" ")
        ],
        details=["Given by WhatsApp, not by a tap"] if automatic else [],
    )


_ANSWERS = {
    "button_reply": _button,
    "list_reply": _list,
    "nfm_reply": flow,
    "call_permission_reply": _call_permission,
}

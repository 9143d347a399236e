"""`connector trigger`: a realistic webhook, signed as Meta signs, posted to an ingress."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from connector.cli.output import JsonOption, err, out, print_json, print_table

if TYPE_CHECKING:
    from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Update
    from connector.settings import Settings


def trigger(
    *,
    kind: Annotated[
        str | None, typer.Argument(help="What happens, e.g. inbound.text; --list shows all.")
    ] = None,
    list_kinds: Annotated[bool, typer.Option("--list", help="Show every kind, and post nothing.")] = False,
    sender: Annotated[
        str, typer.Option("--from", help="The person: a phone with country code, or a user id (BSUID).")
    ] = "+5511987650001",
    name: Annotated[str, typer.Option(help="The person's profile name.")] = "Ana Souza",
    username: Annotated[str | None, typer.Option(help="The person's WhatsApp username.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="The business number's id; by default the settings' one.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="What is said, or the name of what is sent.")] = None,
    about: Annotated[
        str | None, typer.Option(help="wamid that a reply, reaction, edit, deletion or status is about.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="So many, one webhook each.")] = 1,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same message ids: post again to redeliver.")
    ] = None,
    at: Annotated[int | None, typer.Option(help="Unix seconds at which it happened; now by default.")] = None,
    url: Annotated[
        str | None, typer.Option(help="The webhook; by default this machine's ingress, from the settings.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="The app secret to sign with; by default the settings' first.")
    ] = None,
    template: Annotated[str, typer.Option(help="hubspot.*, salesforce.*: the template.")] = "order_update",
    language: Annotated[str, typer.Option(help="hubspot.*, salesforce.*: its language.")] = "en_US",
    parameter: Annotated[
        list[str] | None, typer.Option(help="hubspot.*, salesforce.*: name=value; as often as needed.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="hubspot.*, salesforce.*: marketing, utility, …")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the payload, and post nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a realistic webhook of one kind, sign it as Meta does, and post it to an ingress.

    hubspot.workflow and salesforce.outbound let the simulated CRM of the settings ask for a send to the person.
    """
    from connector.cli.trigger_crm import CRM_KINDS, Wish, trigger_crm
    from connector.sandbox.whatsapp.kinds import KINDS, Occasion
    from connector.settings import load_settings

    if list_kinds:
        _show_kinds(as_json=as_json)
        return
    if kind is not None and kind in CRM_KINDS:
        wish = Wish(
            phone=sender,
            name=name,
            template=template,
            language=language,
            parameters=parameter or (),
            purpose=purpose,
        )
        trigger_crm(kind, wish, settings=load_settings(), as_json=as_json)
        return
    if kind is None or kind not in KINDS:
        raise typer.BadParameter(
            f"{kind or 'nothing'} is no kind of update; connector trigger --list shows all", param_hint="KIND"
        )
    settings = load_settings()
    random = Random() if seed is None else Random(f"trigger {kind} {seed}")
    person, number = _person(sender, name=name, username=username), _number(settings, to)
    first = int(time.time()) if at is None else at
    updates = [
        KINDS[kind].build(
            Occasion(person=person, number=number, at=first + place, random=random, text=text, about=about)
        )
        for place in range(count)
    ]
    if dry_run:
        _show_payloads(updates, as_json=as_json)
        return
    target = _webhook(url or f"http://{settings.ingress.host}:{settings.ingress.port}")
    answers = asyncio.run(_post(updates, url=target, secret=secret or _secret(settings)))
    _show_answers(updates, answers, url=target, as_json=as_json)
    if any(answer != 200 for answer in answers):
        raise typer.Exit(1)


def _webhook(url: str) -> str:
    """The webhook's URL; scheme, host and port alone are enough to name an ingress."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise typer.BadParameter(f"{url} is no URL, e.g. http://127.0.0.1:8080", param_hint="--url")
    return url if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/webhooks/whatsapp"


def _person(given: str, *, name: str, username: str | None) -> Person:
    from connector.sandbox.whatsapp.payloads import Person
    from connector.sandbox.whatsapp.people import introduced
    from connector.whatsapp.numbers import bare_number, is_bsuid

    if is_bsuid(given):
        return Person(name=name, bsuid=given, username=username)
    digits = bare_number(given)
    if not digits.isdecimal():
        raise typer.BadParameter(
            f"{given} is neither a phone with its country code nor a user id such as US.1349…",
            param_hint="--from",
        )
    return introduced(Person(name=name, wa_id=digits, username=username))


def _number(settings: Settings, phone_number_id: str | None) -> BusinessNumber:
    from dataclasses import replace

    from connector.sandbox.whatsapp.payloads import BusinessNumber

    standard = BusinessNumber()
    accounts = settings.whatsapp.business_account_ids
    return replace(
        standard,
        waba_id=accounts[0] if accounts else standard.waba_id,
        phone_number_id=phone_number_id
        or settings.whatsapp.default_phone_number_id
        or standard.phone_number_id,
    )


def _secret(settings: Settings) -> str:
    from connector.errors import SettingsError

    if not settings.whatsapp.app_secrets:
        raise SettingsError(
            "There is no app secret to sign the webhook with; nothing was posted.",
            advice="give --secret, or set CONNECTOR_WHATSAPP__APP_SECRETS as for the ingress",
        )
    return settings.whatsapp.app_secrets[0].get_secret_value()


async def _post(updates: list[Update], *, url: str, secret: str) -> list[int | str]:
    from connector.sandbox.whatsapp.sender import WebhookSender

    async with WebhookSender(url=url, app_secret=secret) as webhook:
        return [await webhook.post([update]) for update in updates]


def _show_kinds(*, as_json: bool) -> None:
    from connector.cli.trigger_crm import CRM_KINDS
    from connector.sandbox.whatsapp.kinds import KINDS

    kinds = {**{kind.name: kind.says for kind in KINDS.values()}, **CRM_KINDS}
    if as_json:
        print_json([{"kind": kind, "says": says} for kind, says in kinds.items()])
    else:
        print_table(["kind", "what happens"], list(kinds.items()))


def _show_payloads(updates: list[Update], *, as_json: bool) -> None:
    """Without --json one document an update; with it all of them in one."""
    from connector.sandbox.whatsapp.payloads import envelope

    documents = [envelope([update]) for update in updates]
    if as_json:
        print_json(documents)
        return
    for document in documents:
        print_json(document)


def _show_answers(updates: list[Update], answers: list[int | str], *, url: str, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"id": update.wamid, "answer": answer} for update, answer in zip(updates, answers, strict=True)
    ]
    if as_json:
        print_json({"url": url, "posted": rows})
        return
    for row in rows:
        out.print(f"{row['answer']}  {row['id'] or 'an update without an id of its own'}", markup=False)
    refused = sorted({str(answer) for answer in answers if answer != 200})
    if not refused:
        known = next((row["id"] for row in rows if row["id"]), None)
        out.print(f"next: connector trace {known}" if known else "next: connector topics list", markup=False)
        return
    advice = {
        "403": "the signature is refused: compare --secret with the ingress's CONNECTOR_WHATSAPP__APP_SECRETS",
        "503": "the ingress cannot keep it now: look at its /readyz",
    }
    hint = "; ".join(advice[one] for one in refused if one in advice) or "is an ingress listening there?"
    err.print(
        f"error {url} answered {', '.join(refused)}; what is not 200 was not kept\nnext  {hint}", markup=False
    )

"""Meta: our settings, what the access token may do and when it ends, subscribed apps, the state of the numbers.

developers.facebook.com/docs/graph-api/reference/debug_token, …/docs/whatsapp/embedded-signup/webhooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from connector.errors import ConnectorError
from connector.outbound.account_graph import AccountGraph
from connector.outbound.store.numbers import NumberReading
from connector.recovery.doctor.clocks import http_date, judged_clock
from connector.recovery.doctor.finding import Finding, fail, not_asked, ok, warn
from connector.settings import Settings, WhatsAppSettings
from connector.whatsapp.lenient import as_int, as_list, as_object, as_text

_AREA = "whatsapp"
_TIMEOUT = 15.0
_NEEDED = ("whatsapp_business_management", "whatsapp_business_messaging")
_SOON = timedelta(days=14)
_TOKEN = "set CONNECTOR_WHATSAPP__ACCESS_TOKEN to a system-user token with " + " and ".join(_NEEDED)


async def examine_whatsapp(
    settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None
) -> list[Finding]:
    """Look at the settings and at Graph."""
    whatsapp = settings.whatsapp
    found = list(judged_settings(whatsapp))
    if not whatsapp.access_token.get_secret_value():
        return found
    url = f"{whatsapp.base_url}/{whatsapp.api_version}"
    token = whatsapp.access_token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        timeout=_TIMEOUT, headers=headers, transport=transport, follow_redirects=False
    ) as graph:
        sent = datetime.now(UTC)
        try:
            answer = await graph.get(f"{url}/debug_token", params={"input_token": token})
            document = as_object(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            says = f"{whatsapp.base_url} does not answer: {type(error).__name__}"
            return [
                *found,
                fail(
                    _AREA,
                    "reachable",
                    says,
                    mend="check the network, proxies and CONNECTOR_WHATSAPP__BASE_URL",
                ),
            ]
        date = http_date(answer.headers.get("date"))
        found.append(judged_clock("WhatsApp", date, sent=sent, received=datetime.now(UTC)))
        found += judged_token(document, now=datetime.now(UTC))
        for waba_id in whatsapp.business_account_ids:
            found.append(
                await _subscription(graph, f"{url}/{quote(waba_id, safe='')}/subscribed_apps", waba_id)
            )
    return [*found, *await _numbers(whatsapp)]


def judged_settings(whatsapp: WhatsAppSettings) -> Iterator[Finding]:
    """What the ingress and the outbound role need."""
    if any(secret.get_secret_value() for secret in whatsapp.app_secrets):
        yield ok(_AREA, "app secret", f"{len(whatsapp.app_secrets)} configured")
    else:
        yield fail(
            _AREA,
            "app secret",
            "none: every webhook is refused",
            mend="set CONNECTOR_WHATSAPP__APP_SECRETS to a JSON list with the Meta app's secret",
        )
    if whatsapp.verify_token.get_secret_value():
        yield ok(_AREA, "verify token", "configured")
    else:
        yield fail(
            _AREA,
            "verify token",
            "none: Meta cannot be given our URL",
            mend="set CONNECTOR_WHATSAPP__VERIFY_TOKEN to the token typed into Meta's webhook form",
        )
    if not whatsapp.access_token.get_secret_value():
        yield warn(
            _AREA, "access token", "none: nothing is sent, files and templates are not read", mend=_TOKEN
        )
    elif not whatsapp.business_account_ids:
        yield warn(
            _AREA,
            "business accounts",
            "none: no template is known, so nothing can be sent",
            mend="set CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS to a JSON list of their ids",
        )


def judged_token(document: Mapping[str, Any], *, now: datetime) -> Iterator[Finding]:
    """What `debug_token` says."""
    error = as_object(document.get("error"))
    if as_int(error.get("code")) == 190:
        yield fail(
            _AREA, "access token", f"Meta refuses it: {as_text(error.get('message'), limit=200)}", mend=_TOKEN
        )
        return
    data = as_object(document.get("data"))
    if error or not data:
        yield not_asked(
            _AREA, "access token", f"Meta does not tell about it: {as_text(error.get('message'), limit=200)}"
        )
        return
    if data.get("is_valid") is not True:
        said = as_text(as_object(data.get("error")).get("message"), limit=200)
        yield fail(_AREA, "access token", f"not valid{f': {said}' if said else ''}", mend=_TOKEN)
        return
    scopes = [scope for scope in as_list(data.get("scopes")) if isinstance(scope, str)]
    missing = [scope for scope in _NEEDED if scope not in scopes]
    if missing:
        yield fail(_AREA, "permissions", f"the token lacks {' and '.join(missing)}", mend=_TOKEN)
    else:
        yield ok(_AREA, "permissions", ", ".join(_NEEDED))
    yield _end(as_int(data.get("expires_at")) or 0, kind=as_text(data.get("type"), limit=50), now=now)


def _end(expires_at: int, *, kind: str, now: datetime) -> Finding:
    whose = f"of a {kind.replace('_', ' ').lower()}" if kind else ""
    if expires_at <= 0:
        return ok(_AREA, "access token", f"valid, {whose}, without an end".replace(", ,", ","))
    end = datetime.fromtimestamp(expires_at, UTC)
    says = f"ends at {end:%Y-%m-%d %H:%M} UTC"
    lasting = "make a system-user token that never expires, and set CONNECTOR_WHATSAPP__ACCESS_TOKEN"
    if end <= now:
        return fail(_AREA, "access token", says, mend=lasting)
    if end - now < _SOON:
        return warn(_AREA, "access token", says, mend=lasting)
    return ok(_AREA, "access token", says)


async def _subscription(graph: httpx.AsyncClient, url: str, waba_id: str) -> Finding:
    """One app's callback gets a business account's webhooks once the app is subscribed to it."""
    try:
        document = as_object((await graph.get(url)).json())
    except (httpx.HTTPError, ValueError) as error:
        return not_asked(_AREA, "subscribed apps", f"of {waba_id}: {type(error).__name__}")
    return judged_subscription(document, waba_id)


def judged_subscription(document: Mapping[str, Any], waba_id: str) -> Finding:
    """What `subscribed_apps` says."""
    error = as_object(document.get("error"))
    if error:
        said = as_text(error.get("message"), limit=200)
        return fail(
            _AREA,
            "subscribed apps",
            f"{waba_id} is not shown to us: {said}",
            mend="check CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS, and that the token's user may see this account",
        )
    apps = [
        as_object(as_object(item).get("whatsapp_business_api_data")) for item in as_list(document.get("data"))
    ]
    if not apps:
        return fail(
            _AREA,
            "subscribed apps",
            f"no app is subscribed to {waba_id}: its webhooks go nowhere",
            mend=f"curl -X POST -H 'Authorization: Bearer …' https://graph.facebook.com/v24.0/{waba_id}/subscribed_apps",
        )
    names = ", ".join(as_text(app.get("name"), limit=60) or "?" for app in apps)
    return ok(_AREA, "subscribed apps", f"{waba_id}: {names}")


async def _numbers(whatsapp: WhatsAppSettings) -> list[Finding]:
    graph = AccountGraph(whatsapp)
    found: list[Finding] = []
    numbers: list[NumberReading] = []
    whole = True
    try:
        for waba_id in whatsapp.business_account_ids:
            try:
                numbers += await graph.numbers(waba_id, asked_at=datetime.now(UTC))
            except ConnectorError as error:
                whole = False
                found.append(fail(_AREA, "numbers", error.message, mend=error.advice))
    finally:
        await graph.close()
    found += [judged_number(number) for number in numbers]
    default = whatsapp.default_phone_number_id
    if whole and numbers and default and default not in {number.phone_number_id for number in numbers}:
        found.append(
            fail(
                _AREA,
                "default number",
                f"CONNECTOR_WHATSAPP__DEFAULT_PHONE_NUMBER_ID {default} is no number of these accounts",
                mend=f"set it to one of {', '.join(number.phone_number_id for number in numbers)}",
            )
        )
    return found


def judged_number(number: NumberReading) -> Finding:
    """State and quality: what Meta lets it send."""
    what = f"number {number.display_phone or number.phone_number_id}"
    says = f"{number.status}, quality {number.quality}, {number.limit_tier or 'no limit told'}"
    page = "WhatsApp Manager, phone numbers: it says what to do"
    if number.status not in ("CONNECTED", "FLAGGED"):
        return fail(_AREA, what, says, mend=page)
    if number.quality == "RED" or number.status == "FLAGGED":
        return warn(_AREA, what, f"{says}: fewer marketing messages, to people who want them", mend=page)
    return ok(_AREA, what, says)

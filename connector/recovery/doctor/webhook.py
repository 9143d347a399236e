"""The ingress as Meta sees it: our URL is verified, a signed POST is taken, and its update is seen on the topic.

The test POST is an account update in a field that nobody reads: it becomes one record of `whatsapp.updates` and one of
`account.events`, and changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import aclosing
from datetime import UTC, datetime

import httpx

from connector.errors import ConnectorError
from connector.recovery.doctor.finding import Finding, fail, not_asked, ok, warn
from connector.settings import Settings
from connector.streams.tail import tail
from connector.topics import WHATSAPP_UPDATES

_AREA = "webhook"
_TIMEOUT = 10.0
_SEEN_WITHIN = 10.0
FIELD = "connector_doctor"
"""Meta has no such field."""


async def examine_webhook(
    settings: Settings, *, nonce: str, post: bool, transport: httpx.AsyncBaseTransport | None = None
) -> list[Finding]:
    """The round trip. `nonce`: tells this test from others; `post`: else only the verification is tried."""
    ingress, whatsapp = settings.ingress, settings.whatsapp
    found: list[Finding] = [judged_url(ingress.public_url)]
    base = ingress.public_url or (f"http://{ingress.host}:{ingress.port}" if ingress.port else "")
    if not base:
        return found
    async with httpx.AsyncClient(
        timeout=_TIMEOUT, transport=transport, follow_redirects=False, trust_env=bool(ingress.public_url)
    ) as meta:
        url = f"{base}/webhooks/whatsapp"
        try:
            found.append(await _verify(meta, url, whatsapp.verify_token.get_secret_value(), nonce))
        except httpx.HTTPError as error:
            says = f"{url} does not answer: {type(error).__name__}"
            mend = "connector run ingress; then DNS, TLS and the proxy before it"
            return [*found, fail(_AREA, "reachable", says, mend=mend)]
        secrets = [secret.get_secret_value() for secret in whatsapp.app_secrets if secret.get_secret_value()]
        if not post or not secrets:
            why = "no app secret is configured" if not secrets else "left out, as asked"
            return [*found, not_asked(_AREA, "signed post", why)]
        return [*found, *await _round_trip(meta, url, settings, secret=secrets[0], nonce=nonce)]


def judged_url(public_url: str) -> Finding:
    """Meta and the CRMs call https URLs only."""
    if not public_url:
        return warn(
            _AREA,
            "public url",
            "not set: the ingress is tried where it listens, HubSpot's signatures cannot be checked, files have no links",
            mend="set CONNECTOR_INGRESS__PUBLIC_URL to what Meta and the CRMs call",
        )
    if not public_url.startswith("https://"):
        return warn(
            _AREA,
            "public url",
            f"{public_url} is not https: Meta does not take it",
            mend="put TLS before the ingress; plain http is for this machine only",
        )
    return ok(_AREA, "public url", public_url)


async def _verify(meta: httpx.AsyncClient, url: str, token: str, nonce: str) -> Finding:
    answer = await meta.get(
        url, params={"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": nonce}
    )
    if answer.status_code == httpx.codes.OK and answer.text == nonce:
        return ok(_AREA, "verification", f"{url} answers the challenge")
    return fail(
        _AREA,
        "verification",
        f"{url} answers {answer.status_code} instead of the challenge",
        mend="the ingress needs the same CONNECTOR_WHATSAPP__VERIFY_TOKEN as this shell, and the proxy must pass the query on",
    )


async def _round_trip(
    meta: httpx.AsyncClient, url: str, settings: Settings, *, secret: str, nonce: str
) -> list[Finding]:
    body = harmless_post(nonce)
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
    listening = asyncio.create_task(_seen(settings, nonce))
    try:
        answer = await meta.post(url, content=body, headers=headers)
    except httpx.HTTPError as error:
        listening.cancel()
        return [fail(_AREA, "signed post", f"{type(error).__name__}", mend="look at the ingress's log")]
    if answer.status_code != httpx.codes.OK:
        listening.cancel()
        by_status = {
            403: "the ingress needs the same CONNECTOR_WHATSAPP__APP_SECRETS; no proxy may change the body",
            503: "the ingress cannot write to Kafka: its log and connector status say why",
        }
        says = f"is answered {answer.status_code}: {answer.text[:200]}"
        return [
            fail(
                _AREA,
                "signed post",
                says,
                mend=by_status.get(answer.status_code, "look at the ingress's log"),
            )
        ]
    posted = ok(_AREA, "signed post", "is answered 200")
    try:
        place = await asyncio.wait_for(listening, _SEEN_WITHIN)
    except TimeoutError:
        says = f"the test post is not on {WHATSAPP_UPDATES.name} after {_SEEN_WITHIN:g} s"
        mend = (
            "the ingress writes to another cluster or prefix than this shell's settings: CONNECTOR_KAFKA__*"
        )
        return [posted, fail(_AREA, "seen on the topic", says, mend=mend)]
    except ConnectorError as error:
        return [posted, not_asked(_AREA, "seen on the topic", error.message)]
    return [posted, ok(_AREA, "seen on the topic", place)]


def harmless_post(nonce: str) -> bytes:
    """A webhook that changes nothing."""
    change = {"field": FIELD, "value": {"nonce": nonce}}
    entry = {"id": "0", "time": 0, "changes": [change]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


async def _seen(settings: Settings, nonce: str) -> str:
    """Where the update lies. Reads from a minute ago, so that it need not be first."""
    since = datetime.fromtimestamp(datetime.now(UTC).timestamp() - 60, UTC)
    async with aclosing(tail(settings.kafka, [WHATSAPP_UPDATES], since=since)) as records:
        async for _, record in records:
            if record.value and nonce.encode() in record.value:
                return f"{record.topic}/{record.partition}/{record.offset}"
    raise AssertionError("a tail does not end")

"""Everything looked at, in the order in which a newcomer sets it up."""

from __future__ import annotations

import asyncio

from connector.recovery.doctor.broker import examine_broker
from connector.recovery.doctor.crms import examine_crms
from connector.recovery.doctor.database import examine_database
from connector.recovery.doctor.finding import Finding
from connector.recovery.doctor.installation import examine_installation
from connector.recovery.doctor.webhook import examine_webhook
from connector.recovery.doctor.whatsapp import examine_whatsapp
from connector.settings import Settings


async def examine(settings: Settings, *, nonce: str, post: bool = True) -> list[Finding]:
    """Look at everything at once; nothing raises for what it finds. `post`: whether a test webhook is posted."""
    parts = await asyncio.gather(
        examine_broker(settings.kafka),
        examine_database(settings),
        examine_whatsapp(settings),
        examine_webhook(settings, nonce=nonce, post=post),
        examine_crms(settings),
    )
    return [*examine_installation(), *(finding for part in parts for finding in part)]

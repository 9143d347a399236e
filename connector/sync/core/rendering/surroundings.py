"""What a message belongs to: the one it answers, a product, an ad, a group, whoever wrote it first."""

from __future__ import annotations

from collections.abc import Iterator

from connector.sync.core.rendering.parts import Version, part_of
from connector.sync.core.rendering.wording import joined, one_line, short_id
from connector.whatsapp.lenient import as_object


def reply_lines(version: Version) -> Iterator[str]:
    """The answered message by the end of its id, which stands on that message as well (`own_line`)."""
    if answered := one_line(version.get("reply_to")):
        yield f"In reply to {short_id(answered)}"
    context = as_object(part_of(version, "context"))
    product = as_object(context.get("referred_product"))
    if product:
        name = one_line(product.get("product_retailer_id")) or "without an id"
        catalogue = one_line(product.get("catalog_id"))
        yield joined(
            f"About the product {name}", f"of the catalogue {catalogue}" if catalogue else "", by=" "
        )
    if context.get("frequently_forwarded") is True:
        yield "Forwarded many times"
    elif context.get("forwarded") is True:
        yield "Forwarded"
    if group := one_line(part_of(version, "group_id")):
        yield f"In the group {group}"


def ad_lines(version: Version) -> Iterator[str]:
    """The ad or post that the person came from."""
    referral = as_object(version.get("referral"))
    if not referral:
        return
    kind = "post" if referral.get("source_type") == "post" else "ad"
    source = one_line(referral.get("source_id"), limit=100)
    headline = one_line(referral.get("headline")) or source or "without a name"
    yield joined(f"Came from the {kind}: {headline}", one_line(referral.get("body")), by=" – ")
    if url := one_line(referral.get("source_url"), limit=2_000):
        yield url
    click = one_line(referral.get("ctwa_clid"), limit=200)
    if named := joined(f"Ad id: {source}" if source else "", f"click id: {click}" if click else "", by=", "):
        yield named


def channel_line(version: Version) -> str:
    """Between which number and whom, and by which way."""
    inbound = version["direction"] == "inbound"
    number = version.get("business_phone") or version.get("phone_number_id") or "the business"
    name, phone = one_line(version.get("name"), limit=100), one_line(version.get("person"), limit=100)
    who = f"{name} ({phone})" if name and phone and name != phone else name or phone
    peer = f" {'from' if inbound else 'to'} {who}" if who else ""
    return f"{'Received' if inbound else 'Sent'} by {number}{peer}{_WAYS.get(str(version.get('via')), '')}"


def own_line(version: Version) -> str:
    """By what replies to this message name it."""
    wamid = one_line(version.get("wamid"))
    return f"Message {short_id(wamid)}" if wamid else ""


_WAYS = {
    "business_app": ", in the WhatsApp Business app",
    "history": ", from the history of the WhatsApp Business app",
}

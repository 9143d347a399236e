"""Golden conversations: webhooks in, timeline out, as readable files; and the page of the docs made of them.

`python tests/golden_conversations.py --write` writes what the connector says today into the files and the page.
Read the difference before it is committed: it is what people will see in their CRM.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pure_pipeline import Pipeline, shown

FOLDER = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[1] / "docs" / "timeline.md"
ORDER = (
    "a-new-customer",
    "taps-forms-and-orders",
    "second-thoughts",
    "before-it-was-connected",
    "what-whatsapp-keeps-back",
)
NUMBER = {"display_phone_number": "15550100100", "phone_number_id": "106540352242922"}


def conversations() -> dict[str, dict[str, Any]]:
    """File name without ending → what it holds."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def document_of(post: dict[str, Any]) -> dict[str, Any]:
    """A post of a golden file in the envelope that every webhook has."""
    value = {key: content for key, content in post.items() if key != "field"}
    value = {"messaging_product": "whatsapp", "metadata": NUMBER, **value}
    change = {"field": post["field"], "value": value}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": [change]}],
    }


def body_of(post: dict[str, Any]) -> bytes:
    return json.dumps(document_of(post)).encode()


def played(posts: list[dict[str, Any]], **options: Any) -> Pipeline:
    """A deployment to which these posts, and nothing else, were sent."""
    pipeline = Pipeline(**options)
    pipeline.feed(*(body_of(post) for post in posts))
    return pipeline


def timeline_of(posts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [shown(view) for view in played(posts).timeline()]


def page() -> str:
    """docs/timeline.md."""
    return "\n".join(_page(conversations())) + "\n"


def _page(golden: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# How a timeline reads"
    yield ""
    yield "Every WhatsApp message becomes one activity on the contact's timeline: what it says, a line `—`, and the"
    yield "details. Edits, deletions, reactions and statuses change that activity; they never add another. The CRM"
    yield "shows the time, the direction and the status beside it. Texts stay in the language they were written in."
    yield ""
    yield "What follows is what the connector writes for the conversations in `tests/golden`, word for word; a test"
    yield "compares them. `python tests/golden_conversations.py --write` writes this page."
    for name in ORDER:
        conversation = golden[name]
        yield from ("", f"## {conversation['title']}", "", conversation["says"])
        for entry in conversation["timeline"]:
            yield from ("", f"**{entry['subject']}** · {entry['at']} UTC · {entry['status']}", "", "```text")
            yield from entry["body"]
            yield "```"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    for name, conversation in conversations().items():
        conversation["timeline"] = timeline_of(conversation["posts"])
        text = json.dumps(conversation, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text, "utf-8")
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()

"""The golden conversations read as their files say, in any order, and survive whatever is done to their payloads."""

import copy
import json
from typing import Any

import pytest
from golden_conversations import ORDER, PAGE, body_of, conversations, document_of, page, played, timeline_of
from hypothesis import HealthCheck, given, settings, strategies as st
from pure_pipeline import Pipeline, shown

from connector.events import Amendment, Message
from connector.sync.core.desired import BODY_LIMIT

GOLDEN = conversations()
DOCUMENTS = [document_of(post) for conversation in GOLDEN.values() for post in conversation["posts"]]
COMMAND = "run: python tests/golden_conversations.py --write, and read the difference"


@pytest.mark.parametrize("name", GOLDEN)
def test_a_conversation_reads_as_its_file_says(name: str) -> None:
    """Payloads in, rendered timeline out, word for word."""
    conversation = GOLDEN[name]
    assert timeline_of(conversation["posts"]) == conversation["timeline"], COMMAND


def test_the_page_of_the_docs_is_made_of_the_conversations() -> None:
    """docs/timeline.md shows what the connector writes, and leaves no conversation out."""
    assert set(ORDER) == set(GOLDEN)
    assert PAGE.read_text("utf-8") == page(), COMMAND


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_order_of_the_webhooks_does_not_matter(data: st.DataObject) -> None:
    """Shuffled and partly repeated, the same webhooks end as the same timeline."""
    conversation = GOLDEN[data.draw(st.sampled_from(sorted(GOLDEN)))]
    posts = data.draw(st.permutations([*conversation["posts"], *conversation["posts"][::3]]))
    assert timeline_of(posts) == conversation["timeline"]


def test_folding_everything_again_changes_no_row() -> None:
    """A redelivery of every webhook moves no version, so no CRM is called."""
    for conversation in GOLDEN.values():
        pipeline = played(conversation["posts"])
        assert pipeline.fold(pipeline.events) == 0


def test_rendering_does_not_depend_on_the_order_that_a_database_gives_keys() -> None:
    """jsonb sorts the keys of stored facts; what a CRM is told stays the same."""
    for conversation in GOLDEN.values():
        pipeline = played(conversation["posts"])
        before = [shown(view) for view in pipeline.timeline()]
        for wamid, state in pipeline.activities.items():
            facts = json.loads(json.dumps(state.facts, sort_keys=True))
            pipeline.activities[wamid] = _with_facts(state, facts)
        assert [shown(view) for view in pipeline.timeline()] == before


def _with_facts(state: Any, facts: Any) -> Any:
    from dataclasses import replace

    return replace(state, facts=facts)


LEAVES = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**400,
        1e300,
        "",
        "asdf",
        "wamid.HBgLMTY1MDU1NTAxMjMVAgASGBQA001AA==",
        "edit",
        "\x00 \ud83d",
        "—\n—",
        "9" * 5_000,
        "x" * 70_000,
        [],
        {},
        [None],
        {"id": 5},
        [[[["deep"]]]],
    ]
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found.extend(_paths(value[key], (*path, key)))
    elif isinstance(value, list):
        for place in range(len(value)):
            found.extend(_paths(value[place], (*path, place)))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A golden payload of which one to four places are missing, of another type, nested, huge, or doubled."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(_paths(document)))
        parent: Any = document
        for step in path[:-1]:
            parent = parent[step]
        last = path[-1]
        how = draw(st.sampled_from(["drop", "replace", "nest", "listed", "double", "rename"]))
        if how == "drop":
            del parent[last]
        elif how == "replace":
            parent[last] = copy.deepcopy(draw(LEAVES))
        elif how == "nest":
            parent[last] = {str(last): parent[last]}
        elif how == "listed":
            parent[last] = [parent[last], copy.deepcopy(parent[last])]
        elif how == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        elif isinstance(parent, dict):
            parent["of_the_future"] = parent.pop(last)
        if not _paths(document):
            break
    return document


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(), st.sampled_from(sorted(GOLDEN)))
def test_nothing_raises_and_nothing_is_lost(document: dict[str, Any], name: str) -> None:
    """Mutated webhooks, beside good ones, end as events, account events or dead letters, each of them readable."""
    pipeline = Pipeline()
    pipeline.feed(json.dumps(document).encode())
    ends = len(pipeline.events) + len(pipeline.account_events) + len(pipeline.dead) + pipeline.refused_posts
    assert ends >= max(1, len(pipeline.updates))
    told = {
        event.target if isinstance(event, Amendment) else event.wamid for event in _about_messages(pipeline)
    }
    assert told <= pipeline.activities.keys()
    for view in pipeline.timeline():
        assert 0 < len(view.body) <= BODY_LIMIT
        assert len(view.subject) <= 255
        assert "\x00" not in view.body
        (view.body + view.subject).encode()
    for state in pipeline.activities.values():
        json.dumps(state.facts, allow_nan=False)
    good = [body_of(post) for post in GOLDEN[name]["posts"][:3]]
    before = len(pipeline.updates)
    pipeline.feed(*good)
    assert len(pipeline.updates) > before


def _about_messages(pipeline: Pipeline) -> list[Message | Amendment]:
    return [event for event in pipeline.events if isinstance(event, Message | Amendment)]

"""`connector topics`: the topics as declared, and on the broker."""

from __future__ import annotations

import asyncio

import typer

from connector.cli.output import JsonOption, out, print_json, print_table

app = typer.Typer(help="The Kafka topics: a public contract.", no_args_is_help=True)


@app.command("list")
def list_topics(as_json: JsonOption = False) -> None:
    """Show every topic as declared: key, retention, what it carries."""
    from connector.settings import load_settings
    from connector.topics import ALL_TOPICS

    prefix = load_settings().kafka.topic_prefix
    days = 24 * 3600 * 1000
    rows = [
        {
            "topic": topic.full_name(prefix),
            "key": topic.key,
            "retention_days": topic.retention_ms // days,
            "carries": topic.description,
        }
        for topic in ALL_TOPICS
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["topic", "days", "key", "carries"],
            [[r["topic"], r["retention_days"], r["key"], r["carries"]] for r in rows],
        )


@app.command("create")
def create(as_json: JsonOption = False) -> None:
    """Create the topics that are missing; an existing one is never altered, only compared."""
    from connector.settings import load_settings
    from connector.streams.topic_admin import create_topics

    report = asyncio.run(create_topics(load_settings().kafka))
    rows = [
        {
            "topic": item.name,
            "change": str(item.change),
            "partitions": item.partitions,
            "differences": list(item.differences),
        }
        for item in report
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["topic", "change", "partitions", "differences"],
        [
            [r["topic"], r["change"], r["partitions"], "; ".join(item.differences)]
            for r, item in zip(rows, report, strict=True)
        ],
    )
    out.print("next: connector state migrate, then connector run ROLE")

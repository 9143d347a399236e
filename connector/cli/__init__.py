"""The `connector` command. One file a command; each imports what it needs when it runs, so --help is fast."""

from __future__ import annotations

import logging
import sys

import typer

from connector.cli.consent import app as consent_app
from connector.cli.demo import demo as demo_command
from connector.cli.dlq import app as dlq_app
from connector.cli.doctor import doctor as doctor_command
from connector.cli.listen import listen as listen_command
from connector.cli.mapping import app as mapping_app
from connector.cli.media import app as media_app
from connector.cli.output import show_error
from connector.cli.pause import pause_app, resume_app
from connector.cli.reconcile import reconcile as reconcile_command
from connector.cli.replay import replay as replay_command
from connector.cli.run import run as run_command
from connector.cli.sandbox import sandbox as sandbox_command
from connector.cli.schemas import schemas as schemas_command
from connector.cli.send import app as send_app
from connector.cli.setup import app as setup_app
from connector.cli.state import app as state_app
from connector.cli.status import status as status_command
from connector.cli.templates import app as templates_app
from connector.cli.topics import app as topics_app
from connector.cli.trace import trace as trace_command
from connector.cli.trigger import trigger as trigger_command
from connector.cli.up import up as up_command
from connector.cli.why import why as why_command
from connector.errors import ConnectorError

app = typer.Typer(
    name="connector",
    help="WhatsApp ⇄ CRM: every WhatsApp event on the right CRM contact's timeline, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", rich_help_panel="Start here")(demo_command)
app.command("up", rich_help_panel="Start here")(up_command)
app.command("sandbox", rich_help_panel="Start here")(sandbox_command)
app.command("run", rich_help_panel="Deploy")(run_command)
app.add_typer(topics_app, name="topics", rich_help_panel="Deploy")
app.add_typer(state_app, name="state", rich_help_panel="Deploy")
app.add_typer(setup_app, name="setup", rich_help_panel="Deploy")
app.add_typer(mapping_app, name="mapping", rich_help_panel="Deploy")
app.command("doctor", rich_help_panel="Deploy")(doctor_command)
app.command("status", rich_help_panel="Operate")(status_command)
app.add_typer(send_app, name="send", rich_help_panel="Operate")
app.command("why", rich_help_panel="Operate")(why_command)
app.command("trace", rich_help_panel="Operate")(trace_command)
app.command("listen", rich_help_panel="Operate")(listen_command)
app.add_typer(dlq_app, name="dlq", rich_help_panel="Operate")
app.command("replay", rich_help_panel="Operate")(replay_command)
app.command("reconcile", rich_help_panel="Operate")(reconcile_command)
app.add_typer(templates_app, name="templates", rich_help_panel="Operate")
app.add_typer(consent_app, name="consent", rich_help_panel="Operate")
app.add_typer(pause_app, name="pause", rich_help_panel="Operate")
app.add_typer(resume_app, name="resume", rich_help_panel="Operate")
app.add_typer(media_app, name="media", rich_help_panel="Operate")
app.command("trigger", rich_help_panel="Develop")(trigger_command)
app.command("schemas", rich_help_panel="Develop")(schemas_command)


def main() -> None:
    """Run the command line; an error of ours ends with what to do next, and exit code 1."""
    # Until a role sets up its logging, the clients' own complaints would stand beside ours, which say what to do.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        app()
    except ConnectorError as error:
        show_error(error)
        sys.exit(1)

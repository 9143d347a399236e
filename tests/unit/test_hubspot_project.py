"""The project in docs/crm/hubspot that an admin uploads."""

import json
from pathlib import Path
from typing import Any, get_args

from connector.crm.hubspot.schema import CONTACT_PROPERTIES
from connector.events.triggers import Purpose
from connector.ingress import hubspot_action, hubspot_webhooks
from connector.sandbox.hubspot import executions, webhooks, workflows

ROOT = Path(__file__).parents[2] / "docs" / "crm" / "hubspot"
HOST = "https://connector.your-company.example"


def component(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "src" / "app" / path).read_text(encoding="utf-8"))
    assert path.rsplit("/", 1)[-1].endswith("-hsmeta.json")
    return found


ACTION = component("workflow-actions/send-template-hsmeta.json")["config"]
WEBHOOKS = component("webhooks/webhooks-hsmeta.json")["config"]


def names(fields: list[dict[str, Any]]) -> list[str]:
    return [field["typeDefinition"]["name"] for field in fields]


def options(fields: list[dict[str, Any]], name: str) -> frozenset[str]:
    (field,) = [item["typeDefinition"] for item in fields if item["typeDefinition"]["name"] == name]
    return frozenset(option["value"] for option in field["options"])


def test_the_action_has_the_fields_that_the_ingress_reads() -> None:
    """Its inputs, the properties that are sent along, and the contacts it is for."""
    assert set(names(ACTION["inputFields"])) == set(hubspot_action.INPUT_FIELDS.values())
    assert options(ACTION["inputFields"], "purpose") == set(get_args(Purpose))
    assert tuple(ACTION["objectRequestOptions"]["properties"]) == hubspot_action.RECORD_PROPERTIES
    assert ACTION["objectTypes"] == ["CONTACT"]


def test_the_action_declares_what_is_answered() -> None:
    """Each output; and a message for each outcome."""
    assert tuple(names(ACTION["outputFields"])) == hubspot_action.OUTPUT_FIELDS
    outcomes = options(ACTION["outputFields"], "outcome")
    assert outcomes == {rule["conditions"]["outcome"] for rule in ACTION["executionRules"]}
    assert {rule["labelName"] for rule in ACTION["executionRules"]} == set(
        ACTION["labels"]["en"]["executionRules"]
    )


def test_every_field_has_a_label() -> None:
    """An admin sees no bare names."""
    labels = ACTION["labels"]["en"]
    assert set(labels["inputFieldLabels"]) == set(names(ACTION["inputFields"]))
    assert set(labels["inputFieldDescriptions"]) == set(names(ACTION["inputFields"]))
    assert set(labels["outputFieldLabels"]) == set(names(ACTION["outputFields"]))


def test_urls_are_the_ingresss_own() -> None:
    """One host to replace."""
    assert ACTION["actionUrl"] == HOST + hubspot_action.PATH
    assert WEBHOOKS["settings"]["targetUrl"] == HOST + hubspot_webhooks.PATH


def test_what_is_subscribed_to_is_what_is_understood() -> None:
    """No event that the ingress leaves out, and every one that it takes."""
    subscribed = [item for family in WEBHOOKS["subscriptions"].values() for item in family]
    watched = {item["propertyName"] for item in subscribed if "propertyName" in item}
    assert watched == set(hubspot_webhooks.WATCHED_PROPERTIES)
    assert watched <= {item.name for item in CONTACT_PROPERTIES}
    assert {item["subscriptionType"] for item in subscribed} == {
        f"contact.{kind}" for kind in ("propertyChange", "merge", "deletion", "privacyDeletion")
    }


def test_the_simulator_runs_this_project() -> None:
    """Its action and its subscriptions are these."""
    assert workflows.ACTION_PATH == hubspot_action.PATH
    assert workflows.RECORD_PROPERTIES == hubspot_action.RECORD_PROPERTIES
    assert executions.OUTPUTS["outcome"] == options(ACTION["outputFields"], "outcome")
    assert set(executions.OUTPUTS) == set(names(ACTION["outputFields"]))
    assert (
        hubspot_webhooks.PATH,
        frozenset(hubspot_webhooks.WATCHED_PROPERTIES),
    ) == (webhooks.WEBHOOK_PATH, webhooks.WATCHED_PROPERTIES)


def test_the_app_asks_for_the_scopes_that_are_needed() -> None:
    """To write contacts, to make properties, and to complete workflow actions."""
    app = component("app-hsmeta.json")["config"]
    assert set(app["auth"]["requiredScopes"]) == {
        "automation",
        *(f"crm.{kind}.contacts.{right}" for kind in ("objects", "schemas") for right in ("read", "write")),
    }
    assert json.loads((ROOT / "hsproject.json").read_text(encoding="utf-8"))["srcDir"] == "src"

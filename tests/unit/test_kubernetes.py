"""k8s/: what an overlay applies is valid for Kubernetes, right for each role, and agrees with the code."""

import base64
import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kustomization import Manifest, build
from referencing import Registry, Resource

from connector.access import kafka_users
from connector.roles import ROLES
from connector.roles.tables import ALL_TABLES
from connector.settings import KafkaSettings, Settings, unknown_variables
from connector.topics import ALL_TOPICS, OPERATOR

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("sandbox", "production")
OLDEST, NEWEST = "1.31", "1.37"
"""Versions of Kubernetes that the manifests are checked for; 1.31 is docs/deploy.md's oldest."""

_OTHER = {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "Cluster", "ExternalSecret"}
_KEDA = {"ScaledObject", "TriggerAuthentication"}
_LONGEST_STOP = 25  # seconds


@cache
def _built(overlay: str) -> dict[tuple[str, str], Manifest]:
    objects = build(K8S / "overlays" / overlay)
    named = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    assert len(named) == len(objects)
    return named


def _of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [item for (kind, _), item in _built(overlay).items() if kind in kinds]


def _pod(item: Manifest) -> dict[str, Any]:
    spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


def _containers(item: Manifest) -> list[dict[str, Any]]:
    pod = _pod(item)
    return [*pod.get("initContainers", []), *pod["containers"]]


def _pods(overlay: str) -> list[Manifest]:
    return _of_kind(overlay, "Deployment", "Job", "CronJob")


def _role(overlay: str, role: str) -> dict[str, Any]:
    [container] = _containers(_built(overlay)["Deployment", f"connector-{role}"])
    return container


@cache
def _kubernetes_schemas(version: str) -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    """(apiVersion, kind) → what its objects may be, strictly: read once, as there are megabytes of it."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text("utf-8"))
    registry = Resource.from_contents(definitions) @ Registry()
    return {
        (
            "/".join(filter(None, [kind["group"], kind["version"]])),
            kind["kind"],
        ): jsonschema.Draft202012Validator({"$ref": f"{definitions['$id']}#/$defs/{name}"}, registry=registry)
        for name, definition in definitions["$defs"].items()
        for kind in definition.get("x-kubernetes-group-version-kind", [])
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_the_kubernetes_schemas_say(overlay: str, version: str) -> None:
    """No field that does not exist, no wrong type: strictly, for the oldest and the newest version."""
    schemas = _kubernetes_schemas(version)
    checked = 0
    for item in _built(overlay).values():
        if item["kind"] not in _OTHER | _KEDA:
            schemas[item["apiVersion"], item["kind"]].validate(item)
            checked += 1
    assert checked > len(ROLES)


def test_a_field_that_does_not_exist_is_refused() -> None:
    """The check of the test above does check."""
    item = copy.deepcopy(_built("production")["Deployment", "connector-route"])
    item["spec"]["template"]["spec"]["containers"][0]["readyProbe"] = {}
    with pytest.raises(jsonschema.ValidationError, match="readyProbe"):
        _kubernetes_schemas(NEWEST)["apps/v1", "Deployment"].validate(item)


def _closed(schema: Any) -> Any:
    """The schema, with objects that may have no other properties than it names: a typo is no extension."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.mark.parametrize(
    "item", _of_kind("production", *_KEDA), ids=lambda item: str(item["metadata"]["name"])
)
def test_scaling_is_what_the_schemas_of_keda_say(item: Manifest) -> None:
    """tests/keda_crds.json is taken from KEDA."""
    schemas = json.loads((Path(__file__).parents[1] / "keda_crds.json").read_text("utf-8"))["schemas"]
    jsonschema.Draft202012Validator(_closed(schemas[item["kind"]])).validate(item["spec"])


def test_tests_build_what_kubectl_builds() -> None:
    """The builder of these tests and the real one agree on every object of the overlay that uses every feature."""
    overlay = "sandbox"
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    said = subprocess.run(
        [kubectl, "kustomize", str(K8S / "overlays" / overlay)], capture_output=True, text=True, check=True
    ).stdout
    documents = list(yaml.safe_load_all(said))
    for item in documents:  # generated names have a hash behind them
        if item["kind"] in {"ConfigMap", "Secret"}:
            said = said.replace(item["metadata"]["name"], item["metadata"]["name"].rsplit("-", 1)[0])
    theirs = {}
    for item in yaml.safe_load_all(said):
        if item["kind"] == "Secret":
            item["data"] = {name: base64.b64decode(value).decode() for name, value in item["data"].items()}
            del item["type"]
        theirs[item["kind"], item["metadata"]["name"]] = _sorted(item)
    assert theirs == {name: _sorted(item) for name, item in _built(overlay).items()}


def _sorted(node: Any) -> Any:
    """Lists in an order of their own: where a patch adds an item is the builder's choice."""
    if isinstance(node, dict):
        return {name: _sorted(value) for name, value in node.items()}
    if isinstance(node, list):
        return sorted((_sorted(value) for value in node), key=lambda value: json.dumps(value, sort_keys=True))
    return node


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_is_deployed_and_nothing_else_runs(overlay: str) -> None:
    """`connector run ROLE` a Deployment; the rest are tools and, in the sandbox, the simulators."""
    run = {
        container["args"][1]
        for item in _of_kind(overlay, "Deployment")
        for container in _containers(item)
        if container.get("args", [""])[0] == "run"
    }
    assert run == set(ROLES)
    images = {container["image"] for item in _pods(overlay) for container in _containers(item)}
    assert len(images) == 1
    assert images.pop().endswith("/connector:0.1.0")


@pytest.mark.parametrize("role", ROLES)
def test_probes_ask_the_right_question(role: str) -> None:
    """Start and life by /healthz, traffic and roll-outs by /readyz; a role that waits for a CRM is not restarted."""
    container = _role("production", role)
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert {"name": "http", "containerPort": 8080} in container["ports"]
    dockerfile = (K8S.parent / "docker" / "Dockerfile").read_text("utf-8")
    assert f"CONNECTOR_{'INGRESS' if role == 'ingress' else 'HEALTH'}__PORT=8080" in dockerfile


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_time_that_it_needs_to_stop(role: str) -> None:
    """Kubernetes kills after the grace period, preStop included."""
    pod = _pod(_built("production")["Deployment", f"connector-{role}"])
    pause = _role("production", role)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= 5
    assert pod["terminationGracePeriodSeconds"] >= pause + _LONGEST_STOP


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_may_do_more_than_the_restricted_profile_allows(overlay: str) -> None:
    """As the namespace enforces it, a read-only root file system besides, and no token of the Kubernetes API."""
    namespace = next(iter(_of_kind(overlay, "Namespace")))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for item in _pods(overlay):
        pod = _pod(item)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in _containers(item):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_mounted_and_referred_to_is_there(overlay: str) -> None:
    """Volumes, claims, ConfigMaps, and Secrets that somebody makes: Strimzi, CloudNativePG, External Secrets, an overlay."""
    made = {item["metadata"]["name"] for item in _of_kind(overlay, "Secret", "ExternalSecret", "KafkaUser")}
    made |= {f"{item['metadata']['name']}-cluster-ca-cert" for item in _of_kind(overlay, "Kafka")}
    made |= {
        f"{item['metadata']['name']}-{end}" for item in _of_kind(overlay, "Cluster") for end in ("app", "ca")
    }
    for item in _pods(overlay):
        volumes = {volume["name"]: volume for volume in _pod(item)["volumes"]}
        for volume in volumes.values():
            if "secret" in volume:
                assert volume["secret"]["secretName"] in made
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in _built(
                    overlay
                )
        for container in _containers(item):
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
            for source in container.get("envFrom", []):
                if "secretRef" in source:
                    assert source["secretRef"]["name"] in made
                else:
                    assert ("ConfigMap", source["configMapRef"]["name"]) in _built(overlay)
            for name in _secret_names(container):
                assert name in made


def _secret_names(container: dict[str, Any]) -> Iterator[str]:
    for variable in container.get("env", []):
        if "valueFrom" in variable:
            yield variable["valueFrom"]["secretKeyRef"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    """In ConfigMaps, Secrets, ExternalSecrets and containers: a name that is none keeps every role from starting."""
    names = {name for item in _of_kind(overlay, "ConfigMap", "Secret") for name in item["data"]}
    names |= {
        entry["secretKey"] for item in _of_kind(overlay, "ExternalSecret") for entry in item["spec"]["data"]
    }
    for item in _pods(overlay):
        for container in _containers(item):
            names |= {variable["name"] for variable in container.get("env", [])}
    assert unknown_variables(names) == {}
    assert "CONNECTOR_KAFKA__CA_FILE" in names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_of_an_overlay_are_valid(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as a role reads them, with a secret where a secret comes."""
    given = dict(_built(overlay)["ConfigMap", "connector-settings"]["data"])
    given |= {"CONNECTOR_KAFKA__USERNAME": "connector-route", "CONNECTOR_KAFKA__PASSWORD": "pw"}
    for item in _of_kind(overlay, "Secret"):
        given |= item["data"]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka.security_protocol == "SASL_SSL"
    assert settings.hubspot.enabled
    assert settings.ingress.public_url


def test_a_role_holds_the_secrets_that_it_needs_and_no_others() -> None:
    """What is not there cannot be taken: the door that the internet sees holds no token of Meta or a CRM."""
    held = {
        role: {
            source["secretRef"]["name"]
            for source in _role("production", role)["envFrom"]
            if "secretRef" in source
        }
        for role in ROLES
    }
    links = "connector-media-links"
    assert held == {
        "ingress": {"connector-webhooks", links},
        "route": set(),
        "sync-hubspot": {"connector-hubspot", links},
        "sync-salesforce": {"connector-salesforce", links},
        "media": {"connector-whatsapp"},
        "outbound": {"connector-whatsapp", "connector-hubspot", "connector-salesforce"},
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_pod_is_a_user_of_its_own_to_the_brokers(overlay: str) -> None:
    """A role as itself; tools and the job before a release as the operator."""
    for item in _pods(overlay):
        for container in _containers(item):
            if item["metadata"]["name"] == "sandbox":
                continue
            args = container.get("args", [""])
            user = f"connector-{args[1] if args[0] == 'run' else OPERATOR}"
            env = {variable["name"]: variable for variable in container["env"]}
            assert env["CONNECTOR_KAFKA__USERNAME"]["value"] == user
            password = env["CONNECTOR_KAFKA__PASSWORD"]["valueFrom"]["secretKeyRef"]
            assert password == {"name": user, "key": "password"}
            assert ("KafkaUser", user) in _built(overlay)


def test_users_may_what_the_code_does_and_topics_are_the_code_s() -> None:
    """Strimzi objects: one user a role and the operator, with literal rules; one topic a declared topic."""
    users = {item["metadata"]["name"]: item["spec"] for item in _of_kind("production", "KafkaUser")}
    assert set(users) == {f"connector-{user}" for user in kafka_users()}
    for user, rules in kafka_users().items():
        acls = users[f"connector-{user}"]["authorization"]["acls"]
        assert {acl["resource"]["patternType"] for acl in acls} == {"literal"}
        given = {(acl["resource"]["type"], acl["resource"]["name"], *acl["operations"]) for acl in acls}
        assert given == {(rule.kind, rule.name, *rule.operations) for rule in rules}
    topics = {item["spec"]["topicName"]: item["spec"] for item in _of_kind("production", "KafkaTopic")}
    assert set(topics) == {topic.name for topic in ALL_TOPICS}
    for topic in ALL_TOPICS:
        assert topics[topic.name]["config"] == topic.configs
        assert topics[topic.name]["partitions"] == KafkaSettings().partitions
    clusters = {item["metadata"]["name"] for item in _of_kind("production", "Kafka")}
    for item in _of_kind("production", "KafkaUser", "KafkaTopic", "KafkaNodePool"):
        assert item["apiVersion"] == "kafka.strimzi.io/v1"
        assert item["metadata"]["labels"]["strimzi.io/cluster"] in clusters


def test_the_ingress_may_only_write_and_a_sink_only_read_what_it_folds() -> None:
    """Said once more in plain words, as it is what a broken-into role could do."""
    operations = {
        user: {(rule.name, operation) for rule in rules for operation in rule.operations}
        for user, rules in kafka_users().items()
    }
    assert {operation for _, operation in operations["ingress"]} == {"Write"}
    for sink in ("sync-hubspot", "sync-salesforce"):
        assert operations[sink] == {
            ("conversation.events", "Read"),
            ("dead.letters", "Write"),
            (sink, "Read"),
        }
    writers = {user for user, what in operations.items() if ("crm.triggers", "Write") in what}
    assert writers == {"ingress", "outbound", OPERATOR}


def test_a_role_is_scaled_by_its_own_lag_and_a_sink_by_what_waits() -> None:
    """Every group of every role, never to nothing, and not beyond the partitions."""
    objects = {item["metadata"]["name"]: item["spec"] for item in _of_kind("production", "ScaledObject")}
    assert set(objects) == {f"connector-{tables.role}" for tables in ALL_TABLES}
    deployments = {item["metadata"]["name"] for item in _of_kind("production", "Deployment")}
    authentications = {item["metadata"]["name"] for item in _of_kind("production", "TriggerAuthentication")}
    for tables in ALL_TABLES:
        spec = objects[f"connector-{tables.role}"]
        assert spec["scaleTargetRef"]["name"] in deployments
        assert 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= KafkaSettings().partitions
        kafka = [trigger["metadata"] for trigger in spec["triggers"] if trigger["type"] == "kafka"]
        sources = {stage: topic.name for stage, topic in tables.sources.items()}
        assert {trigger["consumerGroup"]: trigger["topic"] for trigger in kafka} == sources
        assert {trigger["allowIdleConsumers"] for trigger in kafka} == {"false"}
        bootstrap = _built("production")["ConfigMap", "connector-settings"]["data"][
            "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS"
        ]
        assert {trigger["bootstrapServers"] for trigger in kafka} == {bootstrap}
        others = [trigger["type"] for trigger in spec["triggers"] if trigger["type"] != "kafka"]
        assert others == (["postgresql"] if tables.role.startswith("sync-") else [])
        assert {trigger["authenticationRef"]["name"] for trigger in spec["triggers"]} <= authentications


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select_pods_that_are_there(overlay: str) -> None:
    """Services, budgets, autoscalers and network policies: one that selects nothing protects nothing."""
    pods = [item["spec"]["template"]["metadata"]["labels"] for item in _of_kind(overlay, "Deployment")]
    for item in _of_kind(overlay, "Service", "PodDisruptionBudget"):
        selector = item["spec"]["selector"]
        labels = selector.get("matchLabels", selector)
        assert any(labels.items() <= pod.items() for pod in pods), item["metadata"]["name"]
    for item in _of_kind(overlay, "NetworkPolicy"):
        labels = item["spec"]["podSelector"]["matchLabels"]
        assert any(labels.items() <= pod.items() for pod in pods), item["metadata"]["name"]
    budgets = {item["metadata"]["name"] for item in _of_kind(overlay, "PodDisruptionBudget")}
    assert budgets == {f"connector-{role}" for role in ROLES}
    for item in _of_kind(overlay, "HorizontalPodAutoscaler"):
        assert ("Deployment", item["spec"]["scaleTargetRef"]["name"]) in _built(overlay)
    for item in _of_kind(overlay, "Deployment"):
        assert (
            item["spec"]["selector"]["matchLabels"].items()
            <= item["spec"]["template"]["metadata"]["labels"].items()
        )


def test_only_roles_that_call_apis_reach_the_internet() -> None:
    """And none of them a private address by that way: a link in a message must not lead to a neighbour."""
    policies = {item["metadata"]["name"]: item["spec"] for item in _of_kind("production", "NetworkPolicy")}
    outside = {name for name, spec in policies.items() if "ipBlock" in json.dumps(spec.get("egress", []))}
    assert outside == {"connector-apis"}
    [expression] = policies["connector-apis"]["podSelector"]["matchExpressions"]
    assert set(expression["values"]) == set(ROLES) - {"ingress", "route"} | {"tools"}
    blocks = [to["ipBlock"] for rule in policies["connector-apis"]["egress"] for to in rule["to"]]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(blocks[0]["except"])


def test_the_internet_reaches_the_doors_and_nothing_else() -> None:
    """Every path of the ingress that others call is routed; what it says about itself is not."""
    [door] = _of_kind("production", "Ingress")
    [rule] = door["spec"]["rules"]
    paths = [path["path"] for path in rule["http"]["paths"]]
    called = ["/webhooks/whatsapp", "/triggers/templates", "/triggers/consent", "/triggers/trg_1"]
    called += [
        "/hubspot/workflow-actions/send-template",
        "/hubspot/webhooks",
        "/salesforce/outbound-messages/t",
        "/media/k",
    ]
    for path in called:
        assert any(path.startswith(prefix) for prefix in paths)
    for path in ("/metrics", "/healthz", "/readyz"):
        assert not any(path.startswith(prefix) for prefix in paths)
    host = re.sub(
        r"^https://",
        "",
        _built("production")["ConfigMap", "connector-settings"]["data"]["CONNECTOR_INGRESS__PUBLIC_URL"],
    )
    assert rule["host"] == host
    assert [entry["hosts"] for entry in door["spec"]["tls"]] == [[host]]


def test_the_page_says_what_each_role_may() -> None:
    """docs/deploy.md, for clusters that are no Strimzi's: the same topics and groups, a row a role."""
    rows = (K8S.parent / "docs" / "deploy.md").read_text("utf-8").splitlines()
    for role in ROLES:
        found = [
            row for row in rows if row.startswith(f"| `{role}` |") and ("Write:" in row or "Read:" in row)
        ]
        assert len(found) == 1, role
        rules = kafka_users()[role]
        _, _, topics, groups, _ = found[0].split("|")
        said: dict[str, set[str]] = {}
        for part in topics.split(";"):
            operations, _, names = part.partition(":")
            for name in re.findall(r"`(.+?)`", names):
                said[name] = set(operations.split(" and ")) if " and " in operations else {operations.strip()}
        assert {name: {item.strip() for item in what} for name, what in said.items()} == {
            rule.name: set(rule.operations) for rule in rules if rule.kind == "topic"
        }
        assert set(re.findall(r"`(.+?)`", groups)) == {rule.name for rule in rules if rule.kind == "group"}

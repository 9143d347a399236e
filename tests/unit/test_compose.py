"""docker/: every role is there with settings that exist, and no more rights than it needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.roles import ROLES
from connector.settings import Settings, unknown_variables

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name not in {"kafka", "postgres"}}


def _assigned(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_a_service_of_its_name(role: str) -> None:
    """`connector run ROLE`, nothing else, once the topics and tables are there."""
    assert SERVICES[role]["command"] == ["run", role]
    assert set(SERVICES[role]["depends_on"]) == {"topics", "migrate"}
    assert int(SERVICES[role]["stop_grace_period"].rstrip("s")) >= 30


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_can_change_nothing_but_its_volume(name: str) -> None:
    """Read-only, without capabilities, never more rights than it began with."""
    assert OURS[name]["read_only"] is True
    assert OURS[name]["cap_drop"] == ["ALL"]
    assert OURS[name]["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("file", ["sandbox.env", "connector.env.example"])
def test_each_variable_of_the_settings_files_is_a_setting(file: str) -> None:
    """A deployment refuses to start with a name that is none."""
    names = _assigned(DOCKER / file)
    assert names
    assert unknown_variables(names) == {}


def test_the_settings_of_the_sandbox_profile_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together, as a role reads them: bare values, lists as JSON."""
    for name, value in {**_assigned(DOCKER / "sandbox.env"), **OURS["route"]["environment"]}.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    settings = Settings()
    assert settings.hubspot.enabled
    assert settings.salesforce.enabled
    assert set(settings.health.roles) == set(ROLES)


def test_what_is_named_for_another_service_is_there() -> None:
    """Hosts in addresses, dependencies, volumes and profiles exist."""
    text = (DOCKER / "compose.yaml").read_text("utf-8") + (DOCKER / "sandbox.env").read_text("utf-8")
    hosts = set(re.findall(r"(?:https?://|@)([a-z-]+):\d+", text))
    assert {"kafka", "postgres", "ingress", "sandbox"} <= hosts
    assert hosts <= set(SERVICES) | {"localhost"}
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        named = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert named <= set(COMPOSE["volumes"])


def test_the_compose_file_starts_the_version_that_is_here() -> None:
    """The default image is the one that `make image` and `docker compose build` make of this checkout."""
    project = (DOCKER.parent / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version
    assert OURS["route"]["image"] == f"${{IMAGE:-connector:{version[1]}}}"


def test_the_image_runs_as_a_number_that_is_not_root_and_says_whether_it_lives() -> None:
    """Two stages on one base, no package manager's work in the last one, a health check on /healthz."""
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    stages = text.split("\nFROM ${BASE_IMAGE}")
    assert len(stages) == 3
    last = stages[2]
    assert not re.search(r"^RUN ", last, re.MULTILINE)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert "/healthz" in last
    names = re.findall(r"\b(CONNECTOR_\w+)=", last)
    assert names
    assert unknown_variables(names) == {}

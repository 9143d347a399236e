"""A CONNECTOR_* variable that is no setting is told, with the one that was meant."""

import pytest

from connector.settings import unknown_variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param(
            "CONNECTOR_HUBSPOT_ACCESS_TOKEN", "CONNECTOR_HUBSPOT__ACCESS_TOKEN", id="one-underscore"
        ),
        pytest.param("CONNECTOR_KAKFA__BOOTSTRAP_SERVERS", "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS", id="group"),
        pytest.param("CONNECTOR_LOG_LEVEL", "CONNECTOR_LOG__LEVEL", id="no-group"),
        pytest.param("CONNECTOR_DEFAULT_REGIONS", "CONNECTOR_DEFAULT_REGION", id="top-level"),
        pytest.param("CONNECTOR_XYZ", "", id="nothing-near"),
    ],
)
def test_a_name_that_is_no_setting_is_told_with_the_nearest(name: str, meant: str) -> None:
    """A typo in the group or the separator, which the settings would otherwise never see."""
    assert unknown_variables([name]) == {name: meant}


@pytest.mark.parametrize(
    "name",
    [
        "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS",
        "CONNECTOR_HEALTH__ROLES__ROUTE",
        "CONNECTOR_KAFKA__NO_SUCH",  # refused by its group, which knows its fields
        "CONNECTOR_SECRETS_DIR",
        "CONNECTOR_INGRESS_SERVICE_HOST",
        "CONNECTOR_INGRESS_SERVICE_PORT_HTTP",
        "CONNECTOR_INGRESS_PORT",
        "CONNECTOR_INGRESS_PORT_8080_TCP_ADDR",
        "PATH",
    ],
)
def test_settings_and_what_kubernetes_adds_are_no_mistakes(name: str) -> None:
    """Kubernetes names a Service's variables like ours, when the Service is called connector-ingress."""
    assert unknown_variables([name]) == {}

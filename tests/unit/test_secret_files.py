"""Secrets as files: CONNECTOR_SECRETS_DIR, as Kubernetes and Docker mount them."""

from pathlib import Path

import pytest

from connector.errors import SettingsError
from connector.settings import load_settings


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a mounted Kubernetes Secret: files by way of a hidden, dated folder."""
    data = tmp_path / "..2026_11_24"
    data.mkdir()
    (tmp_path / "..data").symlink_to(data.name)
    (data / "CONNECTOR_WHATSAPP__APP_SECRETS").write_text('["newest", "before"]\n')
    (data / "connector_hubspot__access_token").write_text("pat-na1-file\n")
    for file in data.iterdir():
        (tmp_path / file.name).symlink_to(Path("..data") / file.name)
    monkeypatch.setenv("CONNECTOR_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_files_are_read_in_either_case_without_their_last_newline(secrets: Path) -> None:
    """One file a variable; lists are JSON as in the environment."""
    settings = load_settings()
    assert settings.hubspot.access_token.get_secret_value() == "pat-na1-file"
    assert [item.get_secret_value() for item in settings.whatsapp.app_secrets] == ["newest", "before"]


def test_the_environment_comes_before_a_file(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And groups are put together of both."""
    monkeypatch.setenv("CONNECTOR_HUBSPOT__ACCESS_TOKEN", "pat-na1-environment")
    monkeypatch.setenv("CONNECTOR_WHATSAPP__VERIFY_TOKEN", "v")
    settings = load_settings()
    assert settings.hubspot.access_token.get_secret_value() == "pat-na1-environment"
    assert settings.whatsapp.verify_token.get_secret_value() == "v"
    assert len(settings.whatsapp.app_secrets) == 2


def test_a_file_whose_name_is_no_setting_is_refused(secrets: Path) -> None:
    """A secret that nothing reads is a deployment without it."""
    (secrets / "connector_hubspot__client_secrets").write_text("x")
    with pytest.raises(SettingsError, match="CLIENT_SECRETS"):
        load_settings()


def test_a_wrong_value_is_told_with_its_file_and_never_shown(secrets: Path) -> None:
    """Whoever corrects it has to know where it stands."""
    (secrets / "connector_salesforce__outbound_token").write_text("short+secret")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert (
        f"CONNECTOR_SALESFORCE__OUTBOUND_TOKEN ({secrets / 'connector_salesforce__outbound_token'})"
        in str(refused.value)
    )
    assert "short+secret" not in str(refused.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than a start without secrets."""
    monkeypatch.setenv("CONNECTOR_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="there is no such folder"):
        load_settings()

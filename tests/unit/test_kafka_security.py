"""TLS and SASL to Kafka: which settings go together, and what the clients are given."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from aiokafka.errors import AuthenticationFailedError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from pydantic import ValidationError

from connector.errors import SettingsError
from connector.settings import KafkaSettings
from connector.streams.connection import ClientCredentialsToken, client_arguments, faust_credentials

SCRAM = {"sasl_mechanism": "SCRAM-SHA-512", "username": "route", "password": "pw"}
OAUTH = {
    "sasl_mechanism": "OAUTHBEARER",
    "token_url": "https://login.example.com/token",
    "token_client_id": "route",
    "token_client_secret": "s3cret",
}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate, its key, another key, and that key with a passphrase."""
    folder = tmp_path_factory.mktemp("pem")
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def write(
        file: str, key: ec.EllipticCurvePrivateKey, how: serialization.KeySerializationEncryption
    ) -> None:
        (folder / file).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
        )

    write("user.key", key, serialization.NoEncryption())
    write("other.key", other, serialization.NoEncryption())
    write("locked.key", key, serialization.BestAvailableEncryption(b"passphrase"))
    (folder / "empty.crt").write_text("")
    return folder


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(
            {"security_protocol": "SASL_SSL"}, "SASL_MECHANISM is needed with SASL_SSL", id="mechanism"
        ),
        pytest.param(
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "username": "route"},
            "CONNECTOR_KAFKA__PASSWORD is needed for PLAIN",
            id="password",
        ),
        pytest.param(
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_client_id": "x"},
            "CONNECTOR_KAFKA__TOKEN_URL and CONNECTOR_KAFKA__TOKEN_CLIENT_SECRET is needed for OAUTHBEARER",
            id="token",
        ),
        pytest.param(
            SCRAM,
            "CONNECTOR_KAFKA__SASL_MECHANISM and CONNECTOR_KAFKA__USERNAME and CONNECTOR_KAFKA__PASSWORD would not be used",
            id="sasl-without-protocol",
        ),
        pytest.param(
            {"ca_file": "ca.crt"}, "CONNECTOR_KAFKA__CA_FILE would not be used", id="ca-without-tls"
        ),
        pytest.param(
            {"security_protocol": "SSL", "certificate_file": "user.crt"},
            "CONNECTOR_KAFKA__KEY_FILE is needed as well",
            id="certificate-without-key",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_name(given: dict[str, str], said: str) -> None:
    """What would be ignored is as wrong as what lacks: somebody believes that it protects them."""
    with pytest.raises(ValidationError, match=said):
        KafkaSettings.model_validate(given)


def test_a_plain_listener_is_spoken_to_plainly() -> None:
    """The default: neither TLS nor SASL."""
    kafka = KafkaSettings(bootstrap_servers="a:1,b:2")
    assert client_arguments(kafka) == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}
    assert faust_credentials(kafka) is None


def test_scram_over_tls_is_given_to_both_kinds_of_client(pem: Path) -> None:
    """Name, password, mechanism, and a context that knows our authority only and checks host names."""
    kafka = KafkaSettings.model_validate(
        {"security_protocol": "SASL_SSL", **SCRAM, "ca_file": pem / "ca.crt"}
    )
    arguments = client_arguments(kafka)
    context = arguments.pop("ssl_context")
    assert arguments == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "route",
        "sasl_plain_password": "pw",
    }
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert [authority["subject"] for authority in context.get_ca_certs()] == [((("commonName", "test"),),)]
    credentials = faust_credentials(kafka)
    assert isinstance(credentials, SASLCredentials)
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert (credentials.username, credentials.password) == ("route", "pw")
    assert "pw" not in repr(credentials) + repr(kafka)


def test_mutual_tls_needs_no_sasl(pem: Path) -> None:
    """A client certificate is loaded with its key."""
    kafka = KafkaSettings.model_validate(
        {
            "security_protocol": "SSL",
            "ca_file": pem / "ca.crt",
            "certificate_file": pem / "ca.crt",
            "key_file": pem / "user.key",
        }
    )
    assert client_arguments(kafka)["security_protocol"] == "SSL"
    assert isinstance(faust_credentials(kafka), SSLCredentials)


@pytest.mark.parametrize(
    ("files", "variable"),
    [
        pytest.param({"ca_file": "absent.crt"}, "CONNECTOR_KAFKA__CA_FILE", id="no-ca"),
        pytest.param({"ca_file": "empty.crt"}, "CONNECTOR_KAFKA__CA_FILE", id="empty-ca"),
        pytest.param(
            {"certificate_file": "ca.crt", "key_file": "other.key"},
            "CONNECTOR_KAFKA__KEY_FILE",
            id="other-key",
        ),
        pytest.param(
            {"certificate_file": "ca.crt", "key_file": "locked.key"},
            "CONNECTOR_KAFKA__KEY_FILE",
            id="locked-key",
        ),
    ],
)
def test_files_that_are_no_use_are_named(pem: Path, files: dict[str, str], variable: str) -> None:
    """A missing, empty, foreign or encrypted file is a settings error, at once and without a question on the terminal."""
    paths = {name: pem / file for name, file in files.items()}
    kafka = KafkaSettings.model_validate({"security_protocol": "SSL", **paths})
    with pytest.raises(SettingsError, match=variable):
        client_arguments(kafka)


class TokenServer:
    """An OAuth 2.0 token endpoint."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self._answers[len(self.asked) - 1]


def _token(name: str, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"access_token": name, "token_type": "Bearer", **more})


async def test_a_token_is_asked_for_once_and_anew_before_it_ends() -> None:
    """Client credentials by HTTP basic authentication; a minute before its end a token is not used any more."""
    kafka = KafkaSettings.model_validate({"security_protocol": "SASL_SSL", **OAUTH, "token_scope": "kafka"})
    server = TokenServer(_token("first", expires_in=3600), _token("second", expires_in=3600))
    now = 1000.0
    tokens = ClientCredentialsToken(kafka, transport=server.transport, clock=lambda: now)
    assert [await tokens.token(), await tokens.token()] == ["first", "first"]
    now += 3541
    assert await tokens.token() == "second"
    assert len(server.asked) == 2
    assert server.asked[0].headers["authorization"] == httpx.BasicAuth("route", "s3cret")._auth_header
    assert parse_qs(server.asked[0].content.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["kafka"],
    }
    assert isinstance(client_arguments(kafka)["sasl_oauth_token_provider"], ClientCredentialsToken)
    assert isinstance(faust_credentials(kafka), OAuthCredentials)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            httpx.Response(401, json={"error": "invalid_client", "error_description": "unknown client"}),
            "401 unknown client",
            id="refused",
        ),
        pytest.param(httpx.Response(200, json={"token_type": "Bearer"}), "no access_token", id="none"),
        pytest.param(httpx.Response(502, text="<html>"), "502", id="gateway"),
    ],
)
async def test_a_server_that_gives_no_token_counts_as_a_refusal(answer: httpx.Response, said: str) -> None:
    """Told in the token server's words, with its address and without our secret."""
    kafka = KafkaSettings.model_validate({"security_protocol": "SASL_SSL", **OAUTH})
    tokens = ClientCredentialsToken(kafka, transport=TokenServer(answer).transport)
    with pytest.raises(AuthenticationFailedError, match=said) as refused:
        await tokens.token()
    assert "https://login.example.com/token" in str(refused.value)
    assert "s3cret" not in str(refused.value)

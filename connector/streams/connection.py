"""How every Kafka client of ours reaches the brokers: addresses, TLS, and who we are.

aiokafka's clients take `client_arguments`, Faust takes `faust_credentials` of the same. Certificates are read when a
client is made: renewed files count from the next start of the process.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials

from connector.errors import SettingsError
from connector.settings import KafkaSettings

_TOKEN_TIMEOUT = 10.0  # seconds
_TOKEN_MARGIN = 60.0  # seconds before its end from which on a token is not used for a new connection
_TOKEN_LIFE = 300.0  # seconds, when the server does not say


def client_arguments(kafka: KafkaSettings) -> dict[str, Any]:
    """Arguments of an aiokafka producer, consumer or admin client. Raises `SettingsError` for files that are no use."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = tls_context(kafka)
    if kafka.sasl_mechanism:
        arguments["sasl_mechanism"] = kafka.sasl_mechanism
    if kafka.sasl_mechanism == "OAUTHBEARER":
        arguments["sasl_oauth_token_provider"] = ClientCredentialsToken(kafka)
    elif kafka.sasl_mechanism:
        arguments["sasl_plain_username"] = kafka.username
        arguments["sasl_plain_password"] = kafka.password.get_secret_value()
    return arguments


def faust_credentials(kafka: KafkaSettings) -> Credentials | None:
    """The same for a Faust app; None where neither TLS nor SASL is spoken. Raises `SettingsError` likewise."""
    context = tls_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=ClientCredentialsToken(kafka), ssl_context=context)
    if kafka.sasl_mechanism:
        return SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Brokers are checked against `ca_file` or the system's authorities, by name; our certificate, if we have one."""
    try:
        context = ssl.create_default_context(cafile=kafka.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"CONNECTOR_KAFKA__CA_FILE is {kafka.ca_file}: {_words(error)}.",
            advice="give a readable PEM file with the certificates of the authorities that sign the brokers'",
        ) from error
    if kafka.certificate_file:
        try:
            # The empty password makes an encrypted key an error, where OpenSSL would ask on the terminal.
            context.load_cert_chain(kafka.certificate_file, kafka.key_file, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise SettingsError(
                f"CONNECTOR_KAFKA__CERTIFICATE_FILE {kafka.certificate_file} with CONNECTOR_KAFKA__KEY_FILE "
                f"{kafka.key_file}: {_words(error)}.",
                advice="give readable PEM files, a key that belongs to the certificate and is not encrypted",
            ) from error
    return context


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


class ClientCredentialsToken(AbstractTokenProvider):
    """Tokens by OAuth 2.0 client credentials (RFC 6749 §4.4), kept until a minute before their end.

    Clients in several threads may share one: at worst two tokens are asked for. A server that gives none counts as
    brokers that refuse us.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._transport = transport
        self._clock = clock
        self._kept: tuple[str, float] | None = None  # token, when a new one is asked for

    async def token(self) -> str:
        """A token that is good for a new connection. Raises `AuthenticationFailedError`."""
        kept = self._kept
        if kept is not None and self._clock() < kept[1]:
            return kept[0]
        asked_at = self._clock()
        form = {"grant_type": "client_credentials"}
        if self._kafka.token_scope:
            form["scope"] = self._kafka.token_scope
        client_auth = (self._kafka.token_client_id, self._kafka.token_client_secret.get_secret_value())
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=_TOKEN_TIMEOUT) as client:
                answer = await client.post(self._kafka.token_url, data=form, auth=client_auth)
        except httpx.HTTPError as error:
            raise AuthenticationFailedError(
                f"CONNECTOR_KAFKA__TOKEN_URL {self._kafka.token_url} does not answer: {error!r}"
            ) from error
        token, life = _read(answer, url=self._kafka.token_url)
        self._kept = (token, asked_at + max(life / 2, life - _TOKEN_MARGIN))
        return token


def _read(answer: httpx.Response, *, url: str) -> tuple[str, float]:
    """The token and the seconds that it lives (RFC 6749 §5.1, §5.2)."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    token = document.get("access_token")
    if not answer.is_success or not isinstance(token, str) or not token:
        why = document.get("error_description") or document.get("error") or "no access_token"
        raise AuthenticationFailedError(f"{url} gives no token: {answer.status_code} {str(why)[:200]}")
    try:
        return token, float(document.get("expires_in") or _TOKEN_LIFE)
    except (TypeError, ValueError):
        return token, _TOKEN_LIFE

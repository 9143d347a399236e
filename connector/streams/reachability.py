"""Why a Kafka client of ours could not connect. aiokafka says it in its log only, and raises "unable to bootstrap"."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from connector.errors import Transient
from connector.settings import KafkaSettings
from connector.streams.connection import client_arguments

_ASK_TIMEOUT = 3.0  # seconds
_ADDRESS = "check CONNECTOR_KAFKA__BOOTSTRAP_SERVERS and the brokers"


async def no_answer(kafka: KafkaSettings, error: BaseException) -> Transient:
    """What to raise, or to wait for, after `error` of a client: with what a broker says when asked once more."""
    reason = error
    if isinstance(error, KafkaConnectionError):
        reason = await _why(kafka) or error
    return _told(kafka, reason)


async def _why(kafka: KafkaSettings) -> Exception | None:
    """What the first broker has against us; None when it has nothing (any more)."""
    host, _, port = kafka.bootstrap_servers.split(",")[0].strip().rpartition(":")
    arguments: Mapping[str, Any] = {
        k: v for k, v in client_arguments(kafka).items() if k != "bootstrap_servers"
    }
    try:
        async with asyncio.timeout(_ASK_TIMEOUT):
            connection = await create_conn(host.strip("[]"), int(port), **arguments)
    except (KafkaError, OSError, ValueError) as error:  # a TimeoutError is an OSError
        return error
    connection.close()
    return None


def _told(kafka: KafkaSettings, error: BaseException) -> Transient:
    servers, protocol = kafka.bootstrap_servers, kafka.security_protocol
    said = str(error) or type(error).__name__
    if isinstance(error, AuthenticationFailedError | SaslAuthenticationFailed):
        token = kafka.sasl_mechanism == "OAUTHBEARER"
        return Transient(
            f"Kafka at {servers} refuses our login by {kafka.sasl_mechanism}: {said}.",
            advice="check CONNECTOR_KAFKA__"
            + ("TOKEN_URL, TOKEN_CLIENT_ID and TOKEN_CLIENT_SECRET" if token else "USERNAME and PASSWORD")
            + ", and that the brokers know this user",
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return Transient(
            f"Kafka at {servers} does not know {kafka.sasl_mechanism}: {said}.",
            advice="set CONNECTOR_KAFKA__SASL_MECHANISM to one that the brokers' listener has",
        )
    if isinstance(error, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        return Transient(
            f"Kafka does not let the user {kafka.username or '(none)'} do this: {said}.",
            advice="docs/deploy.md says which rights each role and the operator need",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return Transient(
            f"The certificate of Kafka at {servers} is not trusted: {error.verify_message}.",
            advice="CONNECTOR_KAFKA__CA_FILE has to hold the authority that signed it, and the address to be a name in it",
        )
    if isinstance(error, ssl.SSLError):
        return Transient(
            f"Kafka at {servers} does not speak TLS with us: {said}.",
            advice="check that it is a TLS listener's port (CONNECTOR_KAFKA__SECURITY_PROTOCOL is "
            f"{protocol}), and whether it asks for CONNECTOR_KAFKA__CERTIFICATE_FILE",
        )
    if isinstance(error, KafkaConnectionError) and "closed" in said and not protocol.endswith("SSL"):
        return Transient(
            f"Kafka at {servers} hangs up: {said}.",
            advice=f"{_ADDRESS}; a TLS listener does so when CONNECTOR_KAFKA__SECURITY_PROTOCOL is {protocol}",
        )
    return Transient(f"Kafka does not answer at {servers}: {said}.", advice=_ADDRESS)

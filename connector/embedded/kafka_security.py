"""Makes the embedded broker one as in production: TLS, a SCRAM user for each role, and only what `connector/access.py` allows.

An authority, the broker's certificate and the users' passwords are made once and kept beside the broker's data, for its
owner only. Nothing listens in plain text: the broker and its controller know each other by that certificate.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connector.access import kafka_users
from connector.embedded.ports import HOST
from connector.settings import KafkaSettings
from connector.streams.connection import client_arguments

_BROKER = "broker"
_NAME = "connector-embedded"
_VALID = timedelta(days=3650)
_MECHANISM = "SCRAM-SHA-512"

# org.apache.kafka.common: ResourceType, PatternType, AclOperation and AclPermissionType.
_KINDS = {"topic": 2, "group": 3}
_LITERAL = 3
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_ALLOW = 3


class KafkaSecurity:
    """Under `directory`; made when it is not there yet."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._users = directory / "users.json"
        if not self._users.exists():
            self._make()
        self._passwords: dict[str, str] = json.loads(self._users.read_text("utf-8"))

    @property
    def ca_file(self) -> Path:
        """The authority that signed the broker's certificate."""
        return self._dir / "ca.crt"

    def settings(self, bootstrap_servers: str, *, user: str = _BROKER) -> KafkaSettings:
        """How a user reaches the broker; without one, how the broker's own does, who may do everything."""
        return KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_SSL",
            sasl_mechanism=_MECHANISM,
            username=user,
            password=self._passwords[user],
            ca_file=self.ca_file,
        )

    def environment(self, role: str) -> Mapping[str, str]:
        """The variables of a role, or with `operator` those of commands."""
        return {
            "CONNECTOR_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "CONNECTOR_KAFKA__SASL_MECHANISM": _MECHANISM,
            "CONNECTOR_KAFKA__USERNAME": role,
            "CONNECTOR_KAFKA__PASSWORD": self._passwords[role],
            "CONNECTOR_KAFKA__CA_FILE": str(self.ca_file),
        }

    def format_options(self) -> list[str]:
        """What makes the users when the log directory is formatted."""
        users = (
            f"{_MECHANISM}=[name={user},password={password}]" for user, password in self._passwords.items()
        )
        return [word for user in users for word in ("--add-scram", user)]

    def broker_properties(self) -> str:
        """Lines of server.properties; the broker's listener is called SASL_SSL. Paths count from the broker's folder."""
        folder = self._dir.name
        return f"""listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms={_MECHANISM}
sasl.mechanism.inter.broker.protocol={_MECHANISM}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{_BROKER}" password="{self._passwords[_BROKER]}";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.crt
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{_BROKER};User:CN={_NAME}
"""

    async def allow(self, bootstrap_servers: str) -> None:
        """Give every user its rules. Repeating it changes nothing. Raises `KafkaError`."""
        admin = AIOKafkaAdminClient(**client_arguments(self.settings(bootstrap_servers)))
        await admin.start()
        try:
            for request in _rules():
                response = await admin._send_request(request)  # noqa: SLF001 - aiokafka has no public call for it
                for code, message in response.creation_responses:
                    if code:
                        raise for_code(code)(message)
        finally:
            await admin.close()

    def _make(self) -> None:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, broker = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_NAME}-authority")])
        root = (
            _certificate(issuer, issuer=issuer, key=authority.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(authority, hashes.SHA256())
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST)), x509.DNSName("localhost")])
        certificate = (
            _certificate(subject, issuer=issuer, key=broker.public_key())
            .add_extension(names, critical=False)
            .sign(authority, hashes.SHA256())
        )
        key = broker.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = serialization.Encoding.PEM
        _write(self._dir / "ca.crt", root.public_bytes(pem))
        _write(self._dir / "broker.pem", key + certificate.public_bytes(pem) + root.public_bytes(pem))
        passwords = {user: secrets.token_urlsafe(24) for user in (_BROKER, *kafka_users())}
        _write(self._users, json.dumps(passwords).encode())  # last: it says that all is there


def _certificate(
    subject: x509.Name, *, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
    )


def _write(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)


def _rules() -> Iterable[CreateAclsRequest]:
    for user, rules in kafka_users().items():
        for rule in rules:
            for operation in rule.operations:
                yield CreateAclsRequest(
                    _KINDS[rule.kind],
                    rule.name,
                    _LITERAL,
                    f"User:{user}",
                    "*",
                    _OPERATIONS[operation],
                    _ALLOW,
                )

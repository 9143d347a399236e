"""Logging in: JWT bearer with a private key, else client credentials. One request, no retry.

simple-salesforce's own login takes audience and host from one setting, knows no other host, and drops the user
id and the HTTP status of the answer; its sessions are given to it ready-made instead.
https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jwt
import requests

from connector.errors import Terminal, Transient
from connector.settings import SalesforceSettings

_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_LIFE = 180
"""Seconds that the signed assertion is good for."""

_SHARED = frozenset({"login", "test"})
"""Login hosts of all orgs."""

_PASSING = frozenset({"login_rate_exceeded", "server_error", "temporarily_unavailable"})

_ADVICE = {
    "invalid_client_id": "set CONNECTOR_SALESFORCE__CONSUMER_KEY to the External Client App's consumer key; a new "
    "app is known after about ten minutes",
    "invalid_client": "set CONNECTOR_SALESFORCE__CONSUMER_SECRET to the app's consumer secret",
    "invalid_grant": "check that the app pre-authorises CONNECTOR_SALESFORCE__USERNAME, that its certificate "
    "belongs to CONNECTOR_SALESFORCE__PRIVATE_KEY_FILE, and CONNECTOR_SALESFORCE__DOMAIN (test for a sandbox; "
    "client credentials need the My Domain, e.g. acme.my)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """An open session. `user_id`: the user that we work as."""

    token: str
    instance_url: str
    user_id: str


class Login:
    """How to open a session.

    Raises:
        Terminal: the settings cannot log in anywhere.

    """

    def __init__(self, settings: SalesforceSettings, *, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._url = settings.base_url or f"https://{settings.domain}.salesforce.com"
        if not settings.consumer_key.get_secret_value():
            raise Terminal(
                "No Salesforce consumer key is set; nothing can be written.",
                advice="set CONNECTOR_SALESFORCE__CONSUMER_KEY to the External Client App's consumer key",
            )
        self._key = _private_key(settings.private_key_file)
        if self._key is not None and not settings.username:
            raise Terminal(
                "A private key is set, but no user to log in as; nothing can be written.",
                advice="set CONNECTOR_SALESFORCE__USERNAME to the connector's user",
            )
        if self._key is None and not settings.consumer_secret.get_secret_value():
            raise Terminal(
                "Neither a private key nor a consumer secret is set; nothing can be written.",
                advice="set CONNECTOR_SALESFORCE__PRIVATE_KEY_FILE (JWT bearer), or "
                "CONNECTOR_SALESFORCE__CONSUMER_SECRET (client credentials)",
            )
        if self._key is None and not settings.base_url and settings.domain in _SHARED:
            raise Terminal(
                "Client credentials are accepted by the org's My Domain only; nothing can be written.",
                advice="set CONNECTOR_SALESFORCE__DOMAIN to it, without .salesforce.com, e.g. acme.my",
            )

    def open(self, session: requests.Session, *, timeout: tuple[float, float]) -> Grant:
        """Ask for a token. `timeout`: seconds to connect and to wait.

        Raises:
            Transient: no answer, or none that decides.
            Terminal: the credential is refused.

        """
        try:
            answer = session.post(
                f"{self._url}/services/oauth2/token",
                data=self._form(),
                timeout=timeout,
                allow_redirects=False,
            )
            document = answer.json()
        except requests.exceptions.JSONDecodeError as error:
            raise Transient(f"Salesforce's login answered {answer.status_code} without JSON.") from error
        except requests.exceptions.RequestException as error:
            raise Transient(f"Salesforce's login cannot be reached: {type(error).__name__}.") from error
        if not isinstance(document, dict):
            raise Transient(f"Salesforce's login answered {answer.status_code} with something unknown.")
        if answer.status_code != 200:
            raise _refusal(answer.status_code, document)
        if not document.get("access_token"):
            raise Transient("Salesforce's login answered without an access token.")
        return Grant(
            token=str(document["access_token"]),
            instance_url=self._instance(document),
            user_id=str(document.get("id", "")).rsplit("/", 1)[-1],
        )

    def _instance(self, document: Mapping[str, object]) -> str:
        """Where the org is: as the answer says, else where we logged in, unless that is everybody's login host."""
        told = str(document.get("instance_url") or "")
        if not told and not self._settings.base_url and self._settings.domain in _SHARED:
            raise Terminal(
                "Salesforce's login does not say where the org is. Nothing was written.",
                advice="set CONNECTOR_SALESFORCE__DOMAIN to its My Domain, without .salesforce.com, e.g. acme.my",
            )
        return told or self._url

    def _form(self) -> Mapping[str, str]:
        consumer_key = self._settings.consumer_key.get_secret_value()
        if self._key is None:
            return {
                "grant_type": "client_credentials",
                "client_id": consumer_key,
                "client_secret": self._settings.consumer_secret.get_secret_value(),
            }
        claims = {
            "iss": consumer_key,
            "sub": self._settings.username,
            "aud": self._audience,
            "exp": int(self._now()) + _ASSERTION_LIFE,
        }
        try:
            assertion = jwt.encode(claims, self._key, algorithm="RS256")
        except (jwt.InvalidKeyError, ValueError, TypeError) as error:
            raise Terminal(
                f"The private key of Salesforce cannot sign: {error}",
                advice="CONNECTOR_SALESFORCE__PRIVATE_KEY_FILE must be an RSA private key in PEM",
            ) from error
        return {"grant_type": _BEARER, "assertion": assertion}

    @property
    def _audience(self) -> str:
        """The login host, also when the token is asked of a My Domain."""
        if self._settings.base_url:
            return self._settings.base_url
        domain = self._settings.domain
        host = "test" if domain == "test" or ".sandbox." in f"{domain}." else "login"
        return f"https://{host}.salesforce.com"


def _private_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise Terminal(
            f"The private key of Salesforce cannot be read: {error}",
            advice="set CONNECTOR_SALESFORCE__PRIVATE_KEY_FILE to a readable PEM file",
        ) from error


def _refusal(status: int, document: Mapping[str, object]) -> Exception:
    error = str(document.get("error", "unknown"))
    text = f"Salesforce's login answered {status} {error}: {document.get('error_description', '')}"
    if status >= 500 or status == 429 or error in _PASSING:
        return Transient(text)
    return Terminal(f"{text}. Nothing was written.", advice=_ADVICE.get(error, _ADVICE["invalid_grant"]))

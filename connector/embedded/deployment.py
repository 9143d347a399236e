"""A whole deployment on this machine: the engines, the tables and topics, the roles, and the simulators if asked.

What `connector up`, `connector demo` and the chaos tests run. The roles are the same processes as in production;
only their settings point here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.embedded.errors import PortTaken
from connector.embedded.ports import free_ports, is_free
from connector.embedded.stack import EmbeddedStack
from connector.embedded.supervisor import Program, RestartPolicy, Status, Supervisor
from connector.sandbox.environment import sandbox_environment
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.whatsapp.config import APP_SECRET, VERIFY_TOKEN, WhatsAppConfig
from connector.settings import KafkaSettings
from connector.state.migrate import migrate
from connector.streams.topic_admin import create_topics
from connector.topics import OPERATOR

EMBEDDED_PARTITIONS = 4

SANDBOX_APP_SECRET = APP_SECRET
SANDBOX_VERIFY_TOKEN = VERIFY_TOKEN
SANDBOX_HUBSPOT_TOKEN = HubSpotConfig().tokens[0].token

_READY_TIMEOUT = 60.0

# Meta waits for the ingress, and redelivers what it waits for too long; nobody waits for the roles behind the log.
_BACKGROUND = 5


@dataclass(frozen=True, kw_only=True)
class SandboxOptions:
    """The simulators beside the roles: fields of `HubSpotConfig`, `SalesforceConfig` and `WhatsAppConfig`."""

    hubspot: Mapping[str, object] = field(default_factory=dict)
    salesforce: Mapping[str, object] = field(default_factory=dict)
    whatsapp: Mapping[str, object] = field(default_factory=dict)

    def environment(self, *, hubspot_url: str, salesforce_url: str, whatsapp_url: str) -> Mapping[str, str]:
        """The variables that make a deployment use the simulators at these URLs."""
        return sandbox_environment(
            hubspot_url=hubspot_url,
            salesforce_url=salesforce_url,
            whatsapp_url=whatsapp_url,
            hubspot=HubSpotConfig.model_validate(self.hubspot),
            salesforce=SalesforceConfig.model_validate(self.salesforce),
            whatsapp=WhatsAppConfig.model_validate(self.whatsapp),
        )


class LocalDeployment:
    """Engines, topics, tables and role processes under `data_dir`; entered, all of them are ready.

    `roles` may name a role several times: each is a replica with its own health port. `env` comes on top of
    this process's environment. `command` is the connector that the processes run: its program by absolute path, and
    what comes before `run ROLE`. `secure_kafka`: TLS and ACLs, each role a user of its own, commands the operator's.
    `say` gets a sentence for each step.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        roles: Sequence[str],
        sandbox: SandboxOptions | None = None,
        env: Mapping[str, str] | None = None,
        ingress_port: int | None = None,
        policy: RestartPolicy | None = None,
        command: Sequence[str] = (sys.executable, "-m", "connector"),
        secure_kafka: bool = False,
        say: Callable[[str], None] = lambda _: None,
        on_change: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._roles = roles
        self._sandbox = sandbox
        self._extra = dict(env or {})
        self._ingress_port = ingress_port
        self._policy = policy or RestartPolicy()
        self._command = command
        self._say = say
        self._on_change = on_change
        self.stack = EmbeddedStack(self._data_dir, secure_kafka=secure_kafka)
        self.supervisor: Supervisor | None = None
        self._more: list[Supervisor] = []
        self.hubspot_url = ""
        self.salesforce_url = ""
        self.whatsapp_url = ""
        self.role_urls: dict[str, str] = {}
        """Program name → base URL of its /readyz and /metrics, roles only."""
        self.ingress_urls: list[str] = []
        self.env: dict[str, str] = {}

    @property
    def ingress_url(self) -> str:
        """Where the (first) ingress listens."""
        return self.ingress_urls[0]

    @property
    def log_dir(self) -> Path:
        """One log file a process."""
        return self._data_dir / "logs"

    async def start(self) -> None:
        """Start everything; on failure stop what was started and raise what failed."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        if self._ingress_port and not is_free(self._ingress_port):
            raise PortTaken(engine="the ingress", port=self._ingress_port)
        self._say("starting Kafka and PostgreSQL")
        await self.stack.start()
        self._say("creating tables and topics")
        await migrate(self.stack.database_url)
        await create_topics(self._operators_kafka(), partitions=EMBEDDED_PARTITIONS, replication=1)
        if self._sandbox:
            self.hubspot_url, self.salesforce_url, self.whatsapp_url = (
                f"http://127.0.0.1:{port}" for port in free_ports(3)
            )
        self.env = self._environment()
        programs = self._role_programs(self._roles)
        if self._sandbox:
            programs.insert(0, self._sandbox_program(self._sandbox))
        self.supervisor = await self._supervise(programs, self.log_dir)

    async def start_more(self, roles: Sequence[str]) -> Supervisor:
        """Start further roles beside the running ones; they are ready when this returns."""
        log_dir = self._data_dir / f"logs-{len(self._more) + 2}"
        supervisor = await self._supervise(self._role_programs(roles), log_dir)
        self._more.append(supervisor)
        return supervisor

    def _role_programs(self, roles: Sequence[str]) -> list[Program]:
        ports = free_ports(len(roles))
        if "ingress" in roles:  # every role that makes links to it has to know
            port = self._ingress_port or ports[roles.index("ingress")]
            self.env.setdefault("CONNECTOR_INGRESS__PUBLIC_URL", f"http://127.0.0.1:{port}")
        return [
            self._role_program(role, replica=roles[:place].count(role), port=port)
            for place, (role, port) in enumerate(zip(roles, ports, strict=True))
        ]

    async def _supervise(self, programs: Sequence[Program], log_dir: Path) -> Supervisor:
        self._say(f"starting {', '.join(program.name for program in programs)}")
        await asyncio.to_thread(log_dir.mkdir, parents=True, exist_ok=True)
        supervisor = Supervisor(programs, log_dir=log_dir, on_change=self._on_change, policy=self._policy)
        await supervisor.start()
        try:
            for program in programs:
                await supervisor.wait_ready(program.name, timeout=_READY_TIMEOUT)
        except BaseException:
            await supervisor.stop()
            raise
        return supervisor

    async def stop(self) -> None:
        """Stop the roles, then the engines."""
        for supervisor in (*self._more, self.supervisor):
            if supervisor is not None:
                await supervisor.stop()
        self._more, self.supervisor = [], None
        await self.stack.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _operators_kafka(self) -> KafkaSettings:
        servers, security = self.stack.bootstrap_servers, self.stack.kafka.security
        if security is None:
            return KafkaSettings(bootstrap_servers=servers)
        return security.settings(servers, user=OPERATOR)

    def _kafka_environment(self, user: str) -> Mapping[str, str]:
        security = self.stack.kafka.security
        return {} if security is None else security.environment(user)

    def _environment(self) -> dict[str, str]:
        # Another Kafka's settings are none of this one.
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("CONNECTOR_KAFKA__")}
        env = {
            **inherited,
            "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS": self.stack.bootstrap_servers,
            "CONNECTOR_KAFKA__REPLICATION_FACTOR": "1",
            "CONNECTOR_KAFKA__PARTITIONS": str(EMBEDDED_PARTITIONS),
            "CONNECTOR_DATABASE__URL": self.stack.database_url,
            **self._kafka_environment(OPERATOR),
        }
        env.setdefault("CONNECTOR_MEDIA__STORE", str(self._data_dir / "media"))
        if self._sandbox:
            env |= self._sandbox.environment(
                hubspot_url=self.hubspot_url,
                salesforce_url=self.salesforce_url,
                whatsapp_url=self.whatsapp_url,
            )
        return env | self._extra

    def _role_program(self, role: str, *, replica: int, port: int) -> Program:
        if role == "ingress" and self._ingress_port and not replica:
            port = self._ingress_port
        group = "INGRESS" if role == "ingress" else "HEALTH"
        url = f"http://127.0.0.1:{port}"
        if role == "ingress":
            self.ingress_urls.append(url)
        env = {
            **self.env,
            **self._kafka_environment(role),
            f"CONNECTOR_{group}__PORT": str(port),
            f"CONNECTOR_{group}__HOST": "127.0.0.1",
        }
        name = role if not replica else f"{role}-{replica + 1}"
        self.role_urls[name] = url
        return Program(
            name=name,
            argv=[*self._command, "run", role],
            env=env,
            ready_url=f"{url}/readyz",
            niceness=0 if role == "ingress" else _BACKGROUND,
        )

    def _sandbox_program(self, options: SandboxOptions) -> Program:
        ports = [url.rsplit(":", 1)[1] for url in (self.hubspot_url, self.salesforce_url, self.whatsapp_url)]
        webhook_url = f"{self.ingress_urls[0]}/webhooks/whatsapp" if self.ingress_urls else ""
        return Program(
            name="sandbox",
            argv=[
                *(*self._command, "sandbox", "--json"),
                *("--webhook-url", webhook_url),
                *("--hubspot-port", ports[0], "--hubspot-config", json.dumps(dict(options.hubspot))),
                *("--salesforce-port", ports[1], "--salesforce-config", json.dumps(dict(options.salesforce))),
                *("--whatsapp-port", ports[2], "--whatsapp-config", json.dumps(dict(options.whatsapp))),
            ],
            env=self.env,
            ready_url=f"{self.hubspot_url}/_sandbox/hubspot/state",
        )

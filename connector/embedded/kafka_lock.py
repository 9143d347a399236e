"""Write `kafka.lock.toml` anew: `python -m connector.embedded.kafka_lock KAFKA_VERSION LOG4J_VERSION`.

Resolves Kafka's broker with PyPI `jgo` and adds the one jar that Kafka's own distribution adds: the slf4j
binding, without which the broker logs nothing. Asks the network; run it to move to another Kafka.
"""

from __future__ import annotations

import sys

from jgo.maven import MavenContext
from jgo.maven._core import Dependency  # jgo 3.2 exports the resolver but not this input of it

from connector.embedded.kafka_jars import LOCK_FILE, digest

SCALA = "2.13"


def lock(*, kafka: str, log4j: str) -> str:
    """The lock file's text: every jar's coordinates, size in bytes and sha256, in order of name."""
    context = MavenContext(timeout=30)
    broker, binding = (
        Dependency(context.project(group, name).at_version(version).artifact())
        for group, name, version in (
            ("org.apache.kafka", f"kafka_{SCALA}", kafka),
            ("org.apache.logging.log4j", "log4j-slf4j-impl", log4j),
        )
    )
    # The binding alone: resolved together, its managed versions would change Kafka's own.
    inputs, transitive = context.resolver.resolve([broker])
    inputs = [*inputs, binding]
    lines = []
    for one in [*inputs, *transitive]:
        path = one.artifact.resolve()
        lines.append(
            f'{{ group = "{one.groupId}", name = "{one.artifactId}", version = "{one.version}", '
            f'bytes = {path.stat().st_size}, sha256 = "{digest(path)}" }},'
        )
    body = "\n".join(f"  {line}" for line in sorted(lines))
    return (
        "# Written by `python -m connector.embedded.kafka_lock`; every jar is verified against it at each start.\n"
        f'kafka = "{kafka}"\njars = [\n{body}\n]\n'
    )


if __name__ == "__main__":
    LOCK_FILE.write_text(lock(kafka=sys.argv[1], log4j=sys.argv[2]))

"""A real Apache Kafka and a real PostgreSQL on a bare machine: no Docker, no Java, no database server.

For development, tests and demonstrations. Production brings its own by `CONNECTOR_KAFKA__BOOTSTRAP_SERVERS`
and `CONNECTOR_DATABASE__URL`; no role imports this package.
"""

from __future__ import annotations

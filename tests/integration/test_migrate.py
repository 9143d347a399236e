"""Bringing a database to this version's tables, by the same URL that the roles use."""

import asyncpg

from connector.embedded.postgres import EmbeddedPostgres
from connector.state.migrate import migrate


async def test_a_url_with_options_is_read_as_the_roles_read_it(postgres: EmbeddedPostgres) -> None:
    """The short scheme and sslmode, as hosted databases hand them out, are understood; twice is once."""
    url = await postgres.create_database("with_options")
    hosted = url.replace("postgresql://", "postgres://", 1) + ("&" if "?" in url else "?") + "sslmode=prefer"
    await migrate(hosted)
    await migrate(hosted)
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM identity.contacts") == 0
    finally:
        await connection.close()
        await postgres.drop_database("with_options")

"""Files on a real PostgreSQL, against the WhatsApp simulator: fetched once they can be, whatever happened before."""

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from media_world import MediaWorld, deletion, media_world, received

from connector.media import removal, tables
from connector.media.stage import MediaStage
from connector.sandbox.faults import Fault, FaultKind
from connector.state.database import transaction

DOWNLOADS = "/whatsapp_business/*"
IDS = "/v24.0/*"


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[MediaWorld]:
    async with media_world(database_url, tmp_path / "store") as world:
        yield world


async def test_a_file_is_fetched_by_the_webhooks_url(world: MediaWorld) -> None:
    """A young webhook's URL is enough: the file is stored, checked, and no id was looked up."""
    event, file = world.sent("m", b"content" * 100_000)
    await world.note(event)
    async with world.fetching():
        row = await world.until(event, "stored")
    assert (row.size, row.mime_type, row.differs) == (700_000, "image/jpeg", "")
    assert world.stored() == {row.blob: file.content}
    assert list(world.whatsapp.journal.calls(path=IDS)) == []


async def test_a_file_without_a_url_is_looked_up(world: MediaWorld) -> None:
    """Webhooks without `url` still exist: the id leads to the file."""
    event, file = world.sent("m", b"content")
    await world.note(event.model_copy(update={"content": {}}))
    async with world.fetching():
        row = await world.until(event, "stored")
    assert world.stored() == {row.blob: file.content}


async def test_a_url_that_ran_out_is_replaced(world: MediaWorld) -> None:
    """The webhook's URL is dead when the fetcher comes to it; the id gives another at once."""
    event, _ = world.sent("m", b"content")
    world.skew = 301
    await world.note(event)
    async with world.fetching():
        row = await world.until(event, "stored")
    assert row.attempts == 1
    assert [call.status for call in world.whatsapp.journal.calls(path=DOWNLOADS)] == [404, 200]


async def test_an_old_url_is_not_even_tried(world: MediaWorld) -> None:
    """A webhook that waited on the log for more than its URL's life goes by its id."""
    event, _ = world.sent("m", b"content")
    await world.note(received(event, ago=290))
    async with world.fetching():
        await world.until(event, "stored")
    assert world.whatsapp.journal.counters["GET /whatsapp_business/attachments/ 200"] == 1
    assert len(list(world.whatsapp.journal.calls(path=IDS))) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.STATUS, status=500, times=3),
        Fault(kind=FaultKind.STATUS, status=503, times=3, retry_after="0"),
        Fault(kind=FaultKind.STATUS, status=429, times=3, retry_after="0"),
        Fault(kind=FaultKind.RESET, times=3),
        Fault(kind=FaultKind.STALL, times=2),
        Fault(kind=FaultKind.INCOMPLETE_BODY, path=DOWNLOADS, times=3),
        Fault(kind=FaultKind.TRUNCATED_BODY, path=DOWNLOADS, times=1),
        Fault(kind=FaultKind.NOT_JSON, times=3),
    ],
    ids=["500", "503", "429", "reset", "stall", "half a body", "short body", "a proxy's page"],
)
async def test_a_failed_fetch_is_repeated_though_the_message_is_long_done(
    world: MediaWorld, fault: Fault
) -> None:
    """The message is acknowledged and never comes again; its file is fetched when WhatsApp is well."""
    event, file = world.sent("m", b"content" * 1000)
    world.whatsapp.faults.add(fault)
    await world.note(event)
    async with world.fetching():
        row = await world.until(event, "stored")
    assert world.stored() == {row.blob: file.content}
    assert row.differs == ""


async def test_bad_files_delay_no_other_and_are_no_outage(world: MediaWorld) -> None:
    """Files that WhatsApp does not know keep being tried; the others come, and the role stays ready."""
    bad, file = world.sent("bad", b"lost")
    del world.whatsapp.media.files[file.id]
    others = [world.sent(f"bad{number}", b"lost") for number in range(30)]
    for _, lost in others:
        del world.whatsapp.media.files[lost.id]
    good = [world.sent(f"m{number}", b"content %d" % number)[0] for number in range(20)]
    await world.note(bad, *(event for event, _ in others), *good)
    async with world.fetching():
        for event in good:
            await world.until(event, "stored", within=5)
        row = await world.until_tried(bad, reason="does not know the file")
        assert world.health.ready
    assert row.state == "waiting"


async def test_a_file_is_given_up_when_whatsapp_has_forgotten_it(world: MediaWorld) -> None:
    """At the end of the 7 days the file is unavailable, and the row says why."""
    event, file = world.sent("m", b"content")
    del world.whatsapp.media.files[file.id]
    await world.note(received(event, ago=7 * 86_400 - 1.5))
    async with world.fetching():
        row = await world.until(event, "unavailable")
    assert "7 days" in row.reason
    assert "does not know the file" in row.reason


async def test_a_file_of_an_old_log_is_not_even_asked_for(world: MediaWorld) -> None:
    """A first start reads a year of events: what WhatsApp has forgotten long ago costs no request."""
    event, _ = world.sent("m", b"content")
    await world.note(received(event, ago=30 * 86_400))
    assert (await world.row(event)).state == "unavailable"


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "only noticed"])
async def test_a_file_that_is_too_large_is_refused_with_its_reason(
    world: MediaWorld, *, announced: bool
) -> None:
    """Above the limit nothing is kept, and nothing is tried again."""
    event, file = world.sent("m", b"x" * 5000)
    file.size = 5000 if announced else 10
    await world.note(event if not announced else event.model_copy(update={"content": {}}))
    async with world.fetching(max_bytes=4999):
        row = await world.until(event, "unavailable")
    assert "too large" in row.reason
    assert row.attempts == 1
    assert world.stored() == {}


async def test_a_file_that_whatsapp_refuses_is_unavailable(world: MediaWorld) -> None:
    """131052 is final."""
    event, file = world.sent("m", b"x")
    file.size = 200 * 1024 * 1024
    await world.note(event.model_copy(update={"content": {}}))
    async with world.fetching():
        row = await world.until(event, "unavailable")
    assert "131052" in row.reason


async def test_a_file_that_differs_is_never_kept(world: MediaWorld) -> None:
    """Another SHA-256 than both webhook and Graph say: nothing is stored, and the row says how it differs."""
    event, file = world.sent("m", b"content")
    file.content = b"something else"
    await world.note(event)
    async with world.fetching():
        async with asyncio.timeout(10):
            while file.downloads < 2:
                await asyncio.sleep(0.02)
        row = await world.until_tried(event, reason="SHA-256")
    assert (row.state, world.stored()) == ("waiting", {})
    assert hashlib.sha256(b"content").hexdigest() in row.differs


async def test_a_file_that_differed_until_whatsapp_forgot_it_is_unavailable(world: MediaWorld) -> None:
    """What never came whole is given up with the file itself, and the reason names the difference."""
    event, file = world.sent("m", b"content")
    file.content = b"something else"
    await world.note(received(event, ago=7 * 86_400 - 1.5))
    async with world.fetching():
        row = await world.until(event, "unavailable")
    assert "SHA-256" in row.reason
    assert world.stored() == {}


async def test_a_file_that_was_garbled_once_is_right_in_the_end(world: MediaWorld) -> None:
    """One download differs, the next one is what was said: nothing remains of the first."""
    event, file = world.sent("m", b"content")
    file.content = b"garbled"
    await world.note(event)
    async with world.fetching(first_retry=1.0, longest_retry=1.0):
        await world.until_tried(event, reason="SHA-256")
        file.content = b"content"
        row = await world.until(event, "stored")
    assert (row.differs, world.stored()) == ("", {row.blob: b"content"})


async def test_graphs_own_hash_is_as_good_as_the_webhooks(world: MediaWorld) -> None:
    """Which bytes the webhook's hash is of is not documented: one of the two has to fit."""
    event, _ = world.sent("m", b"content", sha256=hashlib.sha256(b"before it was encrypted").hexdigest())
    await world.note(event)
    async with world.fetching():
        row = await world.until(event, "stored")
    assert (row.differs, row.attempts) == ("", 2)


@pytest.mark.parametrize("way", ["webhook", "graph", "redirect"])
async def test_a_url_on_a_foreign_host_is_not_asked(world: MediaWorld, way: str) -> None:
    """Neither a webhook, nor an answer, nor a redirect leads the fetcher and its token elsewhere."""
    asked: list[bytes] = []

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(trap, "127.0.0.1", 0)
    elsewhere = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    event, file = world.sent("m", b"content")
    if way == "webhook":
        event = event.model_copy(update={"content": {"image": {"url": f"{elsewhere}/x"}}})
    elif way == "graph":
        file.url_host = elsewhere
        event = event.model_copy(update={"content": {}})
    else:
        file.redirect_to = f"{elsewhere}/x"
    await world.note(event)
    async with world.fetching():
        if way == "webhook":
            await world.until(event, "stored")
        else:
            row = await world.until_tried(event, reason="EXTRA_HOSTS")
            assert row.state == "waiting"
    server.close()
    await server.wait_closed()
    assert asked == []


async def test_a_redirect_within_the_allowed_hosts_is_followed(world: MediaWorld) -> None:
    """A redirect to the same host leads to the file."""
    event, file = world.sent("m", b"content")
    target = world.whatsapp.media.add(b"content")
    file.redirect_to = world.whatsapp.media.url_of(target, base_url=world.listener.url)
    await world.note(event)
    async with world.fetching():
        await world.until(event, "stored")


async def test_a_refused_token_stops_the_line_and_loses_nothing(world: MediaWorld) -> None:
    """With a wrong token the part says what to run and no attempt is counted; with the right one the file comes."""
    event, _ = world.sent("m", b"content")
    await world.note(event.model_copy(update={"content": {}}))
    async with world.fetching(token="wrong"):
        async with asyncio.timeout(10):
            while str(world.health.state) != "stopped_line":
                await asyncio.sleep(0.02)
    assert "CONNECTOR_WHATSAPP__ACCESS_TOKEN" in world.health.snapshot()["stopped"]["advice"]
    assert (await world.row(event)).attempts == 0
    async with world.fetching():
        await world.until(event, "stored")
        assert world.health.ready


async def test_no_answer_at_all_is_shown_as_waiting(world: MediaWorld) -> None:
    """While nothing answers the part is unready and names WhatsApp; then it is ready again."""
    number = world.whatsapp.faults.add(Fault(kind=FaultKind.RESET))
    event, _ = world.sent("m", b"content")
    await world.note(event)
    async with world.fetching():
        await world.until_tried(event, reason="did not answer")
        assert "whatsapp" in world.health.snapshot()["waiting_for"]
        world.whatsapp.faults.remove(number)
        await world.until(event, "stored")
        async with asyncio.timeout(5):
            while not world.health.ready:
                await asyncio.sleep(0.02)


async def test_a_store_that_fails_is_waited_for(world: MediaWorld) -> None:
    """While the store takes nothing the file waits and the part names the store; then it is stored."""
    world.folder.write_bytes(b"a file where the folder should be")
    event, _ = world.sent("m", b"content")
    await world.note(event)
    async with world.fetching():
        await world.until_tried(event, reason="media store")
        assert "store" in world.health.snapshot()["waiting_for"]
        world.folder.unlink()
        await world.until(event, "stored")


async def test_killed_in_mid_download_the_file_is_fetched_by_another(
    world: MediaWorld, database_url: str
) -> None:
    """`kill -9` during a download: the lease runs out, another process fetches the file, whole."""
    event, file = world.sent("m", b"content" * 1000)
    number = world.whatsapp.faults.add(Fault(kind=FaultKind.STALL, path=DOWNLOADS))
    await world.note(event)
    worker = Path(__file__).parent / "media_worker.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(worker), database_url, str(world.folder), world.listener.url
    )
    try:
        async with asyncio.timeout(20):
            while not list(world.whatsapp.journal.calls(path=DOWNLOADS)):
                assert process.returncode is None
                await asyncio.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    world.whatsapp.faults.remove(number)
    assert (await world.row(event)).state == "waiting"
    async with world.fetching():
        row = await world.until(event, "stored", within=30)
    assert row.attempts == 2
    assert world.stored() == {row.blob: file.content}


@pytest.mark.parametrize("meanwhile", ["nothing", "deleted"])
async def test_killed_before_it_was_settled_a_file_is_no_orphan(world: MediaWorld, meanwhile: str) -> None:
    """The store has the file and the row does not know: it is fetched to the same name, or removed if it must not be."""
    event, file = world.sent("m", b"content")
    await world.note(event)
    async with transaction(world.pool) as connection:
        claimed = await tables.claim(connection, lease=0.3, newest_first=False)
    assert claimed is not None
    async with world.store.receiving() as receiving:
        await receiving.write(b"content")
        await receiving.publish(claimed.blob)
    if meanwhile == "deleted":
        await world.note(deletion(event))
    async with world.fetching():
        if meanwhile == "nothing":
            row = await world.until(event, "stored")
            assert world.stored() == {row.blob: file.content}
        else:
            async with asyncio.timeout(10):
                while (await world.row(event)).blob is not None:
                    await asyncio.sleep(0.02)
            assert world.stored() == {}


async def test_a_purge_that_was_killed_is_finished_by_the_role(world: MediaWorld) -> None:
    """Rows were marked and no blob removed: the role removes them."""
    event, _ = world.sent("m", b"content")
    await world.note(event)
    async with world.fetching():
        await world.until(event, "stored")
    async with transaction(world.pool) as connection:
        soon = datetime.now(UTC) + timedelta(seconds=1)
        assert await tables.purge(connection, before=soon, reason="old", limit=10) == 1
    assert len(world.stored()) == 1
    async with world.fetching(), asyncio.timeout(10):
        while world.stored():
            await asyncio.sleep(0.02)


async def test_stopped_in_mid_download_the_file_is_given_back_at_once(world: MediaWorld) -> None:
    """An orderly stop breaks a download off and counts no attempt: the next process need not wait for a lease."""
    event, _ = world.sent("m", b"content")
    number = world.whatsapp.faults.add(Fault(kind=FaultKind.STALL))
    await world.note(event)
    async with world.fetching(request_timeout=60, download_timeout=60), asyncio.timeout(10):
        while not list(world.whatsapp.journal.calls()):
            await asyncio.sleep(0.02)
    row = await world.row(event)
    assert (row.state, row.attempts) == ("waiting", 0)
    world.whatsapp.faults.remove(number)
    async with world.fetching():
        await world.until(event, "stored", within=5)


async def test_the_same_events_again_fetch_nothing(world: MediaWorld) -> None:
    """A redelivered batch leaves one file, fetched once."""
    event, file = world.sent("m", b"content")
    await world.note(event, event)
    async with world.fetching():
        await world.until(event, "stored")
        await world.note(event)
        assert (await world.row(event)).state == "stored"
    assert file.downloads == 1


async def test_two_fetchers_share_the_work(world: MediaWorld) -> None:
    """Two processes fetch each file once."""
    sent = [world.sent(f"m{number}", b"%d" % number) for number in range(40)]
    await world.note(*(event for event, _ in sent))
    async with world.fetching(), world.fetching():
        for event, _ in sent:
            await world.until(event, "stored")
    assert {file.downloads for _, file in sent} == {1}


@pytest.mark.parametrize("first", ["message", "deletion"])
async def test_a_deleted_messages_file_is_not_kept(world: MediaWorld, first: str) -> None:
    """The author deletes the message: a stored file is removed, one that is noted later is not fetched."""
    event, file = world.sent("m", b"content")
    if first == "deletion":
        await world.note(deletion(event))
        await world.note(event)
    else:
        await world.note(event)
    async with world.fetching():
        if first == "message":
            await world.until(event, "stored")
            await world.note(deletion(event))
        row = await world.until(event, "withdrawn")
        async with asyncio.timeout(10):
            while world.stored():
                await asyncio.sleep(0.02)
    assert row.reason == tables.WITHDRAWN
    assert file.downloads == (1 if first == "message" else 0)


async def test_a_message_deleted_during_the_download_leaves_no_file(world: MediaWorld) -> None:
    """The deletion comes while the file is on its way: what the attempt stored is removed."""
    event, _ = world.sent("m", b"content")
    world.whatsapp.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.5, path=DOWNLOADS))
    await world.note(event)
    async with world.fetching():
        async with asyncio.timeout(10):
            while not list(world.whatsapp.journal.calls(path=DOWNLOADS)):
                await asyncio.sleep(0.01)
        await world.note(deletion(event))
        async with asyncio.timeout(10):
            while (await world.row(event)).blob is not None:
                await asyncio.sleep(0.02)
    assert (await world.row(event)).state == "withdrawn"
    assert world.stored() == {}


async def test_a_deleted_messages_file_is_kept_when_configured(world: MediaWorld) -> None:
    """With the setting that keeps deleted text, the file stays too."""
    event, _ = world.sent("m", b"content")
    stage = MediaStage(world.pool, wake=asyncio.Event(), keep_deleted=True)
    await world.note(event, deletion(event), stage=stage)
    async with world.fetching():
        await world.until(event, "stored")


async def test_files_are_purged_by_the_age_of_their_message(world: MediaWorld) -> None:
    """Older files leave the store and say so; younger ones stay; a second purge changes nothing."""
    (old, _), (young, _) = world.sent("old", b"old"), world.sent("young", b"young")
    now = datetime.now(UTC)
    old = old.model_copy(update={"at": now - timedelta(days=91)})
    await world.note(old, young)
    async with world.fetching():
        await world.until(old, "stored")
        await world.until(young, "stored")
    before = now - timedelta(days=90)
    async with transaction(world.pool) as connection:
        assert await tables.count_older(connection, before=before) == (1, 3)
    assert await removal.purge(world.pool, world.store, before=before, reason="removed after 90 days") == 1
    row = await world.row(old)
    assert (row.state, row.reason, row.blob) == ("purged", "removed after 90 days", None)
    assert list(world.stored().values()) == [b"young"]
    assert await removal.purge(world.pool, world.store, before=before, reason="again") == 0


async def test_what_killed_attempts_left_on_disk_is_cleared(world: MediaWorld) -> None:
    """A half-received file that is older than any attempt is removed at start; a fresh one is somebody's work."""
    async with world.store.receiving() as receiving:
        await receiving.write(b"x")
        spool = world.folder / ".incoming"
        (mine,) = spool.iterdir()
        left = spool / "connector-media-left"
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        await world.store.clear_leftovers()
        assert set(spool.iterdir()) == {mine}

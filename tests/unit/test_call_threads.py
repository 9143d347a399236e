"""Blocking calls that may never end."""

import asyncio
import threading

import pytest

from connector.crm.call_threads import MOST_GIVEN_UP, CallThreads
from connector.errors import Transient


async def test_a_call_answers_or_fails_as_its_work_does() -> None:
    """The result and the error of the work are the caller's."""
    threads = CallThreads("CRM")
    assert await threads.run(lambda: 7, timeout=10) == 7

    def fail() -> None:
        raise Transient("away")

    with pytest.raises(Transient, match="away"):
        await threads.run(fail, timeout=10)


async def test_a_thread_that_a_call_has_left_takes_the_next() -> None:
    """Calls one after the other need few threads, and none is left when the client closes."""
    threads = CallThreads("reused")
    workers = {await threads.run(threading.current_thread, timeout=10) for _ in range(50)}
    assert len(workers) < 10
    threads.close()
    async with asyncio.timeout(10):
        while any(worker.is_alive() for worker in workers):
            await asyncio.sleep(0)


async def test_calls_that_never_end_take_no_place_of_others() -> None:
    """Others go out while answers trickle in; beyond a limit nothing more is begun, and their end clears the way."""
    threads, ended = CallThreads("CRM"), threading.Event()
    stuck = (threads.run(ended.wait, timeout=0.01) for _ in range(MOST_GIVEN_UP - 1))
    results = await asyncio.gather(*stuck, return_exceptions=True)
    assert all(isinstance(result, TimeoutError) for result in results)
    assert await threads.run(lambda: 7, timeout=10) == 7
    with pytest.raises(TimeoutError):
        await threads.run(ended.wait, timeout=0.01)
    with pytest.raises(Transient, match="still coming in"):
        await threads.run(lambda: 7, timeout=10)
    ended.set()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await threads.run(lambda: 7, timeout=10) == 7
            except Transient:
                await asyncio.sleep(0)
            else:
                break

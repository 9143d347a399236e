"""A worker process for the tests that kill one: appends what it handled to a file, then acknowledges.

Arguments: bootstrap servers, topic prefix, journal file, milliseconds a batch takes.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from connector.settings import KafkaSettings, Settings
from connector.streams.harness import run_stage
from connector.streams.outcomes import Done, Outcome, Record
from connector.telemetry.health import StageHealth
from connector.topics import WHATSAPP_UPDATES


class JournalStage:
    name = "journal"
    topic = WHATSAPP_UPDATES
    batch_size = 50

    def __init__(self, path: str, seconds: float) -> None:
        self._journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seconds = seconds

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        os.write(self._journal, b"begin\n")
        await asyncio.sleep(self._seconds)
        lines = [
            f"{record.partition} {record.offset} {(record.value or b'').decode()}\n" for record in records
        ]
        os.write(self._journal, "".join(lines).encode())
        return [Done() for _ in records]


async def main() -> None:
    bootstrap, prefix, path, milliseconds = sys.argv[1:5]
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=prefix))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    stage = JournalStage(path, int(milliseconds) / 1000)
    await run_stage(stage, settings, stop=stop, health=StageHealth("journal"))


if __name__ == "__main__":
    asyncio.run(main())

"""Loopback ports: chosen once, remembered beside the data, chosen anew when someone else took them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from pathlib import Path

from connector.embedded.directory import write_atomically
from connector.embedded.errors import PortTaken

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Distinct ports that are free now. Another program may still take one first: the caller tries again."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


class RememberedPorts:
    """The ports of one engine, by name, in a file beside its data."""

    def __init__(self, file: Path, names: Sequence[str]) -> None:
        self._file = file
        self._names = tuple(names)

    def choose(self, *, engine: str, fixed: int | None = None) -> dict[str, int]:
        """The remembered ports where they are free, else new ones; `fixed` is the first port's, if asked for.

        Raises `PortTaken` when `fixed` is in use.
        """
        if fixed is not None and not is_free(fixed):
            raise PortTaken(engine=engine, port=fixed)
        remembered = self._read()
        fresh = dict(zip(self._names, free_ports(len(self._names)), strict=True))
        chosen = {
            name: remembered[name] if name in remembered and is_free(remembered[name]) else fresh[name]
            for name in self._names
        }
        if fixed is not None:
            chosen[self._names[0]] = fixed
        write_atomically(self._file, json.dumps(chosen))
        return chosen

    def forget(self) -> None:
        """Choose new ones next time."""
        self._file.unlink(missing_ok=True)

    def _read(self) -> dict[str, int]:
        try:
            content = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {name: port for name, port in content.items() if isinstance(port, int) and 0 < port < 65536}

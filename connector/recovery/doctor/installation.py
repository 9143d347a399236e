"""What is installed here."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator

from connector.errors import Terminal
from connector.recovery.doctor.finding import Finding, fail, ok, warn
from connector.streams.hardened import FAUST_VERSION, check_faust

_AREA = "installation"


def examine_installation() -> Iterator[Finding]:
    """Faust, which the stages are written for in one version, and its compiled iterator."""
    yield ok(_AREA, "python", platform.python_version())
    try:
        check_faust()
    except Terminal as error:
        yield fail(_AREA, "faust", error.message, mend=error.advice)
        return
    if importlib.util.find_spec("faust._cython.streams") is None:
        yield warn(
            _AREA,
            "faust",
            f"{FAUST_VERSION} without its compiled parts: a stage handles about half as many records a second",
            mend=f"pip install --force-reinstall --only-binary :all: faust-streaming=={FAUST_VERSION}",
        )
    else:
        yield ok(_AREA, "faust", f"{FAUST_VERSION}, with its compiled parts")

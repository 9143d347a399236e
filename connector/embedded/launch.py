"""Run by path in front of an engine: tie its life to the parent's, leave root, then become it.

    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID:GID|- NICENESS PROGRAM ARGUMENT...

Standard library only, and it imports nothing of the connector: it lives for some 20 ms in every start.
`exec` keeps the pid, so the caller's handle is the engine itself. It does its work in a process of its own
because code between fork and exec of a process with threads (a `preexec_fn`) may deadlock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
NO_NAMESPACE = 125
"""Exit status when the user namespace was refused; the reason is on standard error."""


def _leave_root(ids: str) -> None:
    """Enter a user namespace where we are `ids`: same files, no new user, no permission changed."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = ids.split(":")
    try:
        outer_uid, outer_gid = os.geteuid(), os.getegid()
        if libc.unshare(_CLONE_NEWUSER) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        # Without this the kernel refuses a gid_map written without privilege (user_namespaces(7)).
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1\n")
        Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1\n")
    except (OSError, AttributeError) as error:
        # unshare(2) says "no space" when the limit on namespaces is reached, which may be 0.
        limit = isinstance(error, OSError) and error.errno == errno.ENOSPC
        sys.stderr.write(f"{'user.max_user_namespaces is reached' if limit else error}\n")
        sys.exit(NO_NAMESPACE)


def main(arguments: list[str]) -> None:
    parent, death_signal, ids, niceness, *command = arguments
    os.nice(int(niceness))
    if ids != "-":
        _leave_root(ids)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):  # the parent died before the kernel was told to watch it
            sys.exit(0)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])

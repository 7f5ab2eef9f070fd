"""Become another program that the kernel kills when its parent dies: `python launcher.py PARENT_PID PROGRAM ARG…`.

A script of its own, not a `preexec_fn`: that runs between fork and exec of a process that may have threads, which
Python warns of since 3.12. On systems other than Linux it only becomes the program.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>; kept across exec


def main() -> None:
    """Ask for SIGKILL at the parent's death, then exec; the process id stays the same."""
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent died before its child began")  # too early for the kernel to have told us
    os.execv(program, [program, *arguments])  # noqa: S606 - our own arguments, and no shell wanted


if __name__ == "__main__":
    main()

"""The end of a program that used native libraries with threads of their own: `obstore`, and the Temporal SDK.

Such a thread hands a result to Python and then lets go of the interpreter. A program whose last deed was to wait for that result may
be so fast that the interpreter is being taken down when the thread wants it once more: Python then aborts the process ("Fatal Python
error: PyGILState_Release", exit status 134). All was done by then, but whoever looks at the status is told otherwise. There
is no way to wait for these threads by name; a moment in which nobody holds the interpreter is all that they need.
"""

from __future__ import annotations

import atexit
import functools
import time

PAUSE_SECONDS = 0.1
"""Under a load of five programs at a time on two cores, a fifth of programs aborted without a pause, and none with half of this."""


@functools.cache
def end_gently() -> None:
    """See to it, once, that the interpreter pauses for `PAUSE_SECONDS` before it takes itself down."""
    atexit.register(time.sleep, PAUSE_SECONDS)

"""A chain of workers that makes one thumbnail: decoder, scale, encode.

Every worker is new, in a compartment of its own, and holds three descriptors:
its input, its output and a place for its error message. Pipes
connect one worker's output to the next one's input; no bytes of the picture
pass through this process but the upload and the finished thumbnail, and it
parses neither.
"""

import fcntl
import os
import select
import signal
import time

STEPS = ["scale", "encode"]  # what follows the decoder

_MESSAGE_SIZE = 1024  # of a worker's error message

class Failed(Exception):
    """A worker did not do its part; the upload is to blame, or its decoder."""

    def __init__(self, component, reason, out_of_time=False):
        super().__init__("%s: %s" % (component, reason))
        self.component = component
        self.reason = reason
        self.out_of_time = out_of_time


class Busy(Exception):
    """Every worker of a component is busy and its queue is full."""

    def __init__(self, component):
        super().__init__("every worker of %s is busy and its queue is full" % component)
        self.component = component


def memory_file(name, size):
    """Return a file in memory that can hold size bytes and never more."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd


def freeze(fd):
    """Make a file in memory unchangeable, for whoever gets it, and rewind it."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    os.lseek(fd, 0, os.SEEK_SET)


class _Step:
    """One worker of the chain and where it leaves its error message."""

    def __init__(self, broker, component, source, sink):
        self.component = component
        # Bounded by its seal and not by a reader: nobody has to drain it
        # while the worker runs.
        self._message = memory_file("message", _MESSAGE_SIZE)
        try:
            self.worker = broker.start(component, {0: source, 1: sink, 2: self._message})
        except BlockingIOError:
            os.close(self._message)
            raise Busy(component) from None
        except BaseException:
            os.close(self._message)
            raise

    def end(self):
        self.worker.cancel()
        os.close(self._message)

    def reason(self, result):
        """Say in words why the worker failed: its result and what it wrote.

        What it wrote is the sender's to choose, as the worker may be theirs
        by now: only plain characters of it go on.
        """
        said = os.pread(self._message, _MESSAGE_SIZE, 0).rstrip(b"\0")
        words = " ".join("".join(chr(b) if 32 <= b < 127 else " " for b in said).split())
        return "%s; it said: %s" % (result, words) if words else str(result)


def run(broker, decoder, source, maximum, seconds):
    """Make a thumbnail of the file source and return its bytes.

    maximum bounds the thumbnail's size, seconds the time for everything. The
    policy's limits end a worker long before; the bound here is for the case
    that the policy has none.
    """
    deadline = time.monotonic() + seconds
    steps = []
    try:
        output = _start(broker, [decoder, *STEPS], source, steps)
        try:
            thumbnail = _read(output, maximum, deadline)
        finally:
            os.close(output)
        if thumbnail is None:
            raise Failed(STEPS[-1], "it wrote more than %d bytes" % maximum)
        _check(steps, deadline)
        return thumbnail
    except TimeoutError:
        raise Failed(decoder, "not done after %d s" % seconds, out_of_time=True) from None
    finally:
        for step in steps:
            step.end()


def _start(broker, components, source, steps):
    """Start the chain, append its steps, return the end of its last pipe.

    From the first to the last: a request that waits for a worker of one step
    holds only workers of earlier steps, so no two wait for each other.
    """
    source = os.dup(source)
    for component in components:
        following, sink = os.pipe2(os.O_CLOEXEC)
        try:
            steps.append(_Step(broker, component, source, sink))
        except BaseException:
            os.close(following)
            raise
        finally:
            # The worker's copies are the only ones from now on: a pipe must
            # end when its worker does.
            os.close(source)
            os.close(sink)
        source = following
    return source


def _read(fd, maximum, deadline):
    """Read to the end; None if there is more than maximum bytes."""
    data = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(data) <= maximum:
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        piece = os.read(fd, 65536)
        if not piece:
            return bytes(data)
        data += piece
    return None


def _check(steps, deadline):
    """Raise Failed for the step that failed, the cause and not a consequence.

    A step that ends early takes its neighbours along: the one before dies of
    SIGPIPE, the one behind complains about its input. So the cause is the
    first failure in the order of the chain that is not a SIGPIPE.
    """
    failures = []
    for step in steps:
        result = step.worker.wait(timeout=max(0, deadline - time.monotonic()))
        if not result.ok:
            failures.append((step, result))
    if not failures:
        return
    step, result = next((f for f in failures if not (f[1].how == f[1].SIGNALED and f[1].code == signal.SIGPIPE)),
                        failures[0])
    raise Failed(step.component, step.reason(result), out_of_time=result.limit in ("wall-time", "cpu-time"))

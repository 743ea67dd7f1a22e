"""Ask the monitor of a Bulkhead application for what the policy grants.

    import bulkhead

    broker = bulkhead.Broker()                       # the socket in SANDBOX_BROKER_FD
    with open("a/b.txt", opener=broker.opener("store")) as file:
        print(file.read())

    worker = broker.start("decode", {0: source, 1: sink})
    result = worker.wait(timeout=10)                 # Result(how, code, reason)

Shapes. Descriptors are ints, sockets are socket.socket, a started worker is a
Worker and its end a Result. Every descriptor that arrives is close-on-exec and
the caller's to close. Descriptors that are given away (start, store) are
copied by the kernel: the caller still owns its own and should close what it no
longer needs, or the reader of a pipe never sees its end.

Errors. A refused request raises the OSError of its errno, as the builtin
functions do: PermissionError (not permitted), FileNotFoundError (no such grant
or file), BlockingIOError (every worker is busy and the queue is full).
BrokerGone is raised when the monitor has ended, ProtocolError when it said
something malformed; after either, every request raises it again.

Threads. A Broker may be used by many threads at once and has none of its own:
of the threads that wait for an answer one reads the socket for all of them.

Lifetimes. What a Broker holds is open until close(). Workers are killed by the
monitor when this process ends, not by close() and not by the loss of a Worker
object.

The protocol is described in docs/protocol.md. Needs nothing but Python's
standard library (3.9 or later), starts no process and no thread.
"""

import array
import collections
import errno
import os
import select
import signal
import socket
import struct
import threading
import time

__all__ = ["Broker", "BrokerGone", "ProtocolError", "Result", "Worker", "listen_sockets"]

_VERSION = 1
_HEADER = struct.Struct("<BBHIIHH")  # version, kind, operation, id, status, descriptors, reserved
_MAXIMUM_SIZE = 4096
_MAXIMUM_FDS = 16

_REQUEST, _REPLY, _EVENT = 1, 2, 3

_OPEN, _CONNECT, _LISTEN, _START, _CANCEL, _READY = 1, 2, 3, 4, 5, 6
_STATUS, _WATCHDOG, _STORE, _FETCH, _DROP, _SEAL = 7, 8, 9, 10, 11, 12
_ACCEPT = 13

_EXITED, _SIGNALED, _NOT_RUN = 1, 2, 3


class ProtocolError(Exception):
    """What came from the monitor, or would go to it, is not a message."""


class BrokerGone(ConnectionError):
    """The monitor has ended, or the Broker is closed."""


class Result(collections.namedtuple("Result", "how code reason")):
    """How a started worker ended.

    how is Result.EXITED (code is the exit status), Result.SIGNALED (code is
    the signal) or Result.NOT_RUN (code is the errno); reason says why in words
    and is empty for a worker that exited by itself.
    """

    __slots__ = ()
    EXITED, SIGNALED, NOT_RUN = _EXITED, _SIGNALED, _NOT_RUN

    @property
    def ok(self):
        """Whether the worker exited with status 0."""
        return self.how == _EXITED and self.code == 0

    @property
    def limit(self):
        """The policy's key of the limit that ended the worker, or None."""
        name, found, _ = self.reason.partition(" limit of ")
        return name if found else None

    def __str__(self):
        if self.reason:
            return self.reason
        if self.how == _EXITED:
            return "exited with status %d" % self.code
        if self.how == _SIGNALED:
            return "killed by signal %d (%s)" % (self.code, signal.strsignal(self.code))
        return "not run: %s" % os.strerror(self.code)


class Worker:
    """A worker that this process started; made by Broker.start."""

    def __init__(self, broker, component, number, call):
        self.component = component
        self.number = number
        self._broker = broker
        self._call = call

    def wait(self, timeout=None):
        """Wait until the worker has ended and return its Result.

        Raises TimeoutError after timeout seconds; the worker runs on and may
        be waited for again. Once known, the Result is kept.
        """
        return self._broker._await_result(self._call, timeout)

    def cancel(self):
        """Kill the worker. Its Result still comes, so wait() afterwards.

        A worker that has ended already is no error: that is what was wanted.
        """
        if self._call.result is not None:
            return
        try:
            self._broker._cancel(self.number)
        except ProcessLookupError:
            pass

    def __repr__(self):
        return "<Worker %d of %s>" % (self.number, self.component)


class _Call:
    """A request that waits for its reply and, if it is a start, its event."""

    __slots__ = ("operation", "what", "reply", "result", "abandoned")

    def __init__(self, operation, what):
        self.operation = operation
        self.what = what    # for messages: "open store/a.txt"
        self.reply = None   # (status, body, descriptors)
        self.result = None  # Result
        self.abandoned = False  # whoever asked was interrupted


class Broker:
    """The connection to the monitor.

    Takes the socket whose number is in SANDBOX_BROKER_FD, or descriptor fd.
    Raises KeyError when the process does not run under Bulkhead.
    """

    def __init__(self, fd=None):
        if fd is None:
            fd = int(os.environ["SANDBOX_BROKER_FD"])
        os.set_inheritable(fd, False)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fd)
        self._socket.setblocking(True)  # socket.setdefaulttimeout is not for this one
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # an answer came, or nobody reads any more
        self._reading = False  # one thread reads for all
        self._calls = {}       # id -> _Call
        self._last_id = 0
        self._broken = None    # the exception that ended the connection

    def close(self):
        """Close the socket. Requests that wait raise BrokerGone."""
        with self._lock:
            if self._broken is None:
                self._broken = BrokerGone("the broker socket is closed")
                # close alone does not wake a thread that polls.
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self._changed.notify_all()
            while self._reading:
                self._changed.wait()
            self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Files and sockets.

    def open(self, grant, path="", flags=os.O_RDONLY, mode=0o666):
        """Open a file and return its descriptor, as os.open does.

        For a directory grant path is relative to the directory; for a file
        grant it is empty. mode counts only with O_CREAT.
        """
        what = "open %s" % (os.path.join(grant, path) if path else grant)
        mode = mode if flags & os.O_CREAT else 0
        body = struct.pack("<II", flags & ~os.O_CLOEXEC, mode) + _string(grant) + _string(path)
        return self._one_descriptor(_OPEN, body, what)

    def opener(self, grant):
        """Return an opener for the builtin open: open(path, opener=...)."""
        return lambda path, flags: self.open(grant, path, flags)

    def connect(self, grant):
        """Return a new connected socket of a connect grant."""
        return socket.socket(fileno=self._one_descriptor(_CONNECT, _string(grant), "connect %s" % grant))

    def listen(self, grant):
        """Return the listening socket of a listen grant."""
        return socket.socket(fileno=self._one_descriptor(_LISTEN, _string(grant), "listen %s" % grant))

    def accept(self, grant):
        """Wait until somebody connects to the socket of a listen grant and return that connection."""
        return socket.socket(fileno=self._one_descriptor(_ACCEPT, _string(grant), "accept %s" % grant))

    # Workers of other components.

    def start(self, component, descriptors=()):
        """Start a worker of component and return it as soon as it runs.

        descriptors maps descriptor numbers of the new worker to descriptors of
        this process (ints, or anything with fileno()). While every worker of
        the component is busy the call waits in the policy's queue; when that
        is full it raises BlockingIOError.
        """
        pairs = dict(descriptors)
        numbers = struct.pack("<H%dH" % len(pairs), len(pairs), *pairs)
        call = self._request(_START, _string(component) + numbers, "start %s" % component, list(pairs.values()))
        _, body, descriptors = call.reply
        try:
            number, = struct.unpack("<I", body)
        except struct.error:
            self._fail(ProtocolError("the reply to a start has %d bytes" % len(body)), descriptors)
        self._expect(call, descriptors, 0)
        return Worker(self, component, number, call)

    def _await_result(self, call, timeout):
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wait(lambda: call.result is not None, deadline, "%s: still running" % call.what)
        return call.result

    def _cancel(self, number):
        self._nothing(_CANCEL, struct.pack("<I", number), "cancel worker %d" % number)

    # The worker's own life.

    def ready(self):
        """Say that this worker is ready to serve."""
        self._nothing(_READY, b"", "ready")

    def status(self, text):
        """Say in words what this worker does; `sandbox inspect` shows it."""
        self._nothing(_STATUS, _string(text), "status")

    def watchdog(self):
        """Say that this worker is alive, within the policy's watchdog time."""
        self._nothing(_WATCHDOG, b"", "watchdog")

    def store(self, name, descriptor):
        """Leave a descriptor with the monitor, to be fetched after a restart."""
        self._nothing(_STORE, _string(name), "store %s" % name, [descriptor])

    def fetch(self, name):
        """Return the descriptors that are stored under name, a list.

        Raises FileNotFoundError when there are none. They stay stored.
        """
        call = self._request(_FETCH, _string(name), "fetch %s" % name)
        _, body, descriptors = call.reply
        if body:
            self._fail(ProtocolError("the reply to a fetch has a body"), descriptors)
        return descriptors

    def drop(self, grant):
        """Give up a grant for good."""
        self._nothing(_DROP, _string(grant), "drop %s" % grant)

    def seal(self, grants):
        """Give up every grant but these for good."""
        grants = list(grants)
        self._nothing(_SEAL, struct.pack("<H", len(grants)) + b"".join(map(_string, grants)), "seal")

    # Requests and their answers.

    def _nothing(self, operation, body, what, descriptors=()):
        call = self._request(operation, body, what, descriptors)
        _, body, received = call.reply
        if body:
            self._fail(ProtocolError("%s: the reply has a body" % what), received)
        self._expect(call, received, 0)

    def _one_descriptor(self, operation, body, what):
        call = self._request(operation, body, what)
        _, body, received = call.reply
        if body:
            self._fail(ProtocolError("%s: the reply has a body" % what), received)
        self._expect(call, received, 1)
        return received[0]

    def _expect(self, call, received, count):
        if len(received) != count:
            self._fail(ProtocolError("%s: %d descriptors came, not %d" % (call.what, len(received), count)), received)

    def _request(self, operation, body, what, descriptors=()):
        """Send a request, wait for its reply, raise if it is a refusal."""
        if _HEADER.size + len(body) > _MAXIMUM_SIZE:
            raise OSError(errno.EMSGSIZE, "%s: the message is larger than %d bytes" % (what, _MAXIMUM_SIZE))
        if len(descriptors) > _MAXIMUM_FDS:
            raise OSError(errno.EMSGSIZE, "%s: more than %d descriptors" % (what, _MAXIMUM_FDS))
        numbers = array.array("i", [d if isinstance(d, int) else d.fileno() for d in descriptors])
        call = _Call(operation, what)
        with self._lock:
            id = self._free_id()
            self._calls[id] = call
        packet = _HEADER.pack(_VERSION, _REQUEST, operation, id, 0, len(numbers), 0) + body
        try:
            self._send(packet, numbers)
        except BaseException:
            # The packet did not leave: nothing will answer it.
            with self._lock:
                self._calls.pop(id, None)
            raise
        try:
            self._wait(lambda: call.reply is not None, None, what)
        except BaseException:
            with self._lock:
                call.abandoned = True
                if call.reply is not None:
                    _close(call.reply[2])
            raise
        status = call.reply[0]
        if status != 0:
            raise OSError(status, os.strerror(status), what)
        return call

    def _free_id(self):
        while True:
            self._last_id = self._last_id % 0xFFFFFFFF + 1
            if self._last_id not in self._calls:
                return self._last_id

    def _send(self, packet, numbers):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
        while True:
            with self._lock:
                self._raise_if_broken()
            try:
                self._socket.sendmsg([packet], control, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                return
            except BlockingIOError:
                # The monitor reads no more until its answers are read, so
                # waiting for room includes reading them.
                self._step(lambda: False, None, writable=True)
            except (BrokenPipeError, ConnectionResetError):
                self._fail(BrokerGone("the monitor has ended"))

    def _wait(self, done, deadline, what):
        while not self._step(done, deadline):
            with self._lock:
                if not done():
                    self._raise_if_broken()
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(what)

    def _step(self, done, deadline, writable=False):
        """Return True if done; else let one thing happen: a message arrives,
        here or in the thread that reads for all; the deadline passes; or, if
        asked, there is room to send.
        """
        remaining = None if deadline is None else max(0, deadline - time.monotonic())
        with self._lock:
            # Looked at under the lock that gives the reading away: else the
            # awaited answer could be the last thing that another thread read.
            if done():
                return True
            if self._broken is not None:
                return False
            if self._reading:
                # One that waits for room looks again soon: the reader wakes it
                # only when something arrives.
                self._changed.wait(0.01 if writable else remaining)
                return False
            self._reading = True
        message = None
        try:
            message = self._receive(remaining, writable)
        except (ProtocolError, BrokerGone) as failure:
            message = failure
        finally:
            with self._lock:
                self._reading = False
                if isinstance(message, Exception):
                    self._break(message)
                elif message is not None:
                    self._deliver(*message)
                self._changed.notify_all()
        return False

    def _raise_if_broken(self):
        # A fresh exception: one object raised in many threads would collect
        # the tracebacks of all.
        if self._broken is not None:
            raise type(self._broken)(*self._broken.args)

    def _receive(self, timeout, writable):
        """Return one message of the monitor, or None if none came in time."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if writable else 0))
        poll.poll(None if timeout is None else timeout * 1000 + 1)
        try:
            # One byte more than a message, one descriptor more than allowed:
            # so what is too large is seen and not cut to what is right.
            packet, ancillary, flags, _ = self._socket.recvmsg(
                _MAXIMUM_SIZE + 1, socket.CMSG_SPACE((_MAXIMUM_FDS + 1) * array.array("i").itemsize),
                socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            raise BrokerGone("the monitor has ended") from None
        received = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received.frombytes(data[:len(data) - len(data) % received.itemsize])
        received = list(received)
        try:
            return _parse(packet, flags, received)
        except BaseException:
            _close(received)
            raise

    def _deliver(self, kind, operation, id, status, body, received):
        """Give a message to the call that it belongs to. Called with the lock."""
        call = self._calls.get(id)
        if call is None or call.operation != operation:
            self._break(ProtocolError("an answer to no request came: operation %d, id %d" % (operation, id)))
            _close(received)
        elif kind == _REPLY and call.reply is None:
            call.reply = (status, body, received)
            if call.abandoned:
                _close(received)
            if operation != _START or status != 0:
                del self._calls[id]
        elif kind == _EVENT and operation == _START and call.reply is not None and not received:
            try:
                call.result = _result(body)
            except ProtocolError as failure:
                self._break(failure)
            del self._calls[id]
        else:
            self._break(ProtocolError("an unexpected message came: kind %d, operation %d" % (kind, operation)))
            _close(received)

    def _break(self, failure):
        """End the connection for every thread. Called with the lock."""
        if self._broken is None:
            self._broken = failure
        self._changed.notify_all()

    def _fail(self, failure, received=()):
        _close(received)
        with self._lock:
            self._break(failure)
        raise failure


def _parse(packet, flags, received):
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ProtocolError("a message was cut off: too large, or no room for its descriptors")
    if not packet:
        raise BrokerGone("the monitor has ended")
    if len(packet) < _HEADER.size:
        raise ProtocolError("a message of %d bytes is too short" % len(packet))
    if len(packet) > _MAXIMUM_SIZE:
        raise ProtocolError("a message is larger than %d bytes" % _MAXIMUM_SIZE)
    version, kind, operation, id, status, count, reserved = _HEADER.unpack_from(packet)
    if version != _VERSION:
        raise ProtocolError("protocol version %d is unknown" % version)
    if kind not in (_REPLY, _EVENT) or reserved != 0 or (kind == _EVENT and status != 0):
        raise ProtocolError("the header of a message is malformed")
    if count != len(received) or count > _MAXIMUM_FDS:
        raise ProtocolError("%d descriptors came and %d were announced" % (len(received), count))
    body = packet[_HEADER.size:]
    if status != 0 and (body or received):
        raise ProtocolError("a refusal has a body")
    return kind, operation, id, status, body, received


def _result(body):
    if len(body) < 10:
        raise ProtocolError("the event of a start is too short")
    how, code, length = struct.unpack_from("<IIH", body)
    reason = body[10:]
    if how not in (_EXITED, _SIGNALED, _NOT_RUN) or len(reason) != length or b"\0" in reason:
        raise ProtocolError("the event of a start is malformed")
    return Result(how, code, reason.decode("utf-8", "replace"))


def _string(text):
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    if len(encoded) > _MAXIMUM_SIZE:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return struct.pack("<H", len(encoded)) + encoded


def _close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def listen_sockets():
    """Return the listening sockets that were granted at start, by grant name.

    Reads LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID (sd_listen_fds(3)); empty
    when there are none. Call it once: each call makes new socket objects of the same numbers.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    sockets = {}
    for offset in range(count):
        number = 3 + offset
        os.set_inheritable(number, False)
        name = names[offset] if offset < len(names) and names[offset] else "unknown"
        sockets[name] = socket.socket(fileno=number)
    return sockets

"""Tests of the Python client; python_test.go runs each against its own peer."""

import errno
import os
import signal
import socket
import sys
import threading
import time
import traceback

import bulkhead
from bulkhead import Result


def raises(kind, function, *arguments):
    try:
        function(*arguments)
    except kind as error:
        return error
    raise AssertionError("%s%r raised nothing" % (function.__name__, arguments))


def inheritable(descriptor):
    return os.get_inheritable(descriptor if isinstance(descriptor, int) else descriptor.fileno())


def open_files():
    return set(os.listdir("/proc/self/fd"))


def run(broker, component, text):
    """Run a component on text and return its output and its result."""
    source, feed = os.pipe()
    output, sink = os.pipe()
    worker = broker.start(component, {0: source, 1: sink})
    os.close(source)
    os.close(sink)
    os.write(feed, text)
    os.close(feed)
    with open(output, "rb") as file:
        written = file.read()
    return written, worker.wait(timeout=10)


def test_open(broker):
    with open("greeting", opener=broker.opener("store")) as file:
        assert file.read() == "hello\n"
        assert not inheritable(file.fileno())
    with open("new", "x", opener=broker.opener("store")) as file:
        file.write("made")
    assert raises(FileExistsError, broker.open, "store", "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    fd = broker.open("store", "new", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b" longer")
    os.close(fd)
    with open(broker.open("store", "new")) as file:
        assert file.read() == "made longer"
    with open(broker.open("motd")) as file:
        assert file.read() == "motd\n"


def test_errors(broker):
    before = open_files()
    assert raises(FileNotFoundError, broker.open, "nothing").errno == errno.ENOENT
    assert "open store/absent" in str(raises(FileNotFoundError, broker.open, "store", "absent"))
    assert raises(OSError, broker.open, "store", "greeting", os.O_DIRECTORY).errno == errno.EINVAL
    raises(IsADirectoryError, broker.open, "store")
    assert raises(OSError, broker.connect, "motd").errno == errno.EINVAL
    raises(PermissionError, broker.start, "forbidden")
    raises(BlockingIOError, broker.start, "busy")
    raises(PermissionError, broker.start, "nothing")
    raises(FileNotFoundError, broker.fetch, "nothing")
    raises(ValueError, broker.open, "a\0b")
    assert raises(OSError, broker.status, "x" * 4096).errno == errno.EMSGSIZE
    assert raises(OSError, broker.start, "upper", {n: 0 for n in range(17)}).errno == errno.EMSGSIZE
    assert raises(OSError, broker.store, "x", 999).errno == errno.EBADF
    broker.ready()
    assert open_files() == before


def test_sockets(broker):
    with broker.connect("echo") as echo:
        assert not inheritable(echo)
        echo.sendall(b"ping")
        assert echo.recv(10) == b"ping"
    with broker.listen("http") as http, socket.socket(socket.AF_UNIX) as client:
        assert not inheritable(http)
        client.connect(http.getsockname())
        http.accept()[0].close()


def test_accept(broker):
    with broker.accept("http") as connection:
        assert not inheritable(connection)
        assert connection.recv(10) == b"caller"
    assert raises(OSError, broker.accept, "motd").errno == errno.EINVAL
    assert raises(OSError, broker.accept, "nothing").errno == errno.ENOENT


def test_life(broker):
    broker.ready()
    broker.status("serving ünicode")
    broker.watchdog()
    with open("/dev/null") as null:
        broker.store("null", null)
        broker.store("null", null.fileno())
    fetched = broker.fetch("null")
    assert len(fetched) == 2 and not any(map(inheritable, fetched))
    again = broker.fetch("null")
    assert len(again) == 2
    for fd in fetched + again:
        os.close(fd)


def test_narrowing(broker):
    broker.drop("motd")
    raises(PermissionError, broker.open, "motd")
    raises(FileNotFoundError, broker.drop, "nothing")
    os.close(broker.open("store", "greeting"))
    broker.seal(["echo", "motd"])
    raises(PermissionError, broker.open, "store", "greeting")
    raises(PermissionError, broker.open, "motd")
    broker.connect("echo").close()
    raises(PermissionError, broker.seal, [])


def test_start(broker):
    before = open_files()
    written, result = run(broker, "upper", b"loud")
    assert written == b"LOUD"
    assert result == Result(Result.EXITED, 0, "") and result.ok and str(result) == "exited with status 0"
    _, result = run(broker, "status", b"3")
    assert result == Result(Result.EXITED, 3, "") and not result.ok and result.limit is None
    result = broker.start("limited").wait()
    assert result == Result(Result.SIGNALED, signal.SIGKILL, "wall-time limit of 5s reached")
    assert result.limit == "wall-time" and str(result) == "wall-time limit of 5s reached"
    result = broker.start("absent").wait()
    assert result.how == Result.NOT_RUN and result.code == errno.ENOENT and not result.ok
    assert open_files() == before


def test_cancel(broker):
    worker = broker.start("sleeper")
    raises(TimeoutError, worker.wait, 0.05)
    worker.cancel()
    result = worker.wait(10)
    assert result == Result(Result.SIGNALED, signal.SIGKILL, "cancelled by tester")
    assert worker.wait(0) == result
    worker.cancel()


def test_out_of_order(broker):
    late = []
    thread = threading.Thread(target=lambda: late.append(broker.connect("late")))
    thread.start()
    while not broker._calls:
        time.sleep(0.001)
    time.sleep(0.05)
    broker.connect("echo").close()
    thread.join(10)
    assert late and not thread.is_alive()
    late[0].close()


def test_threads(broker):
    before = open_files()
    failures = []

    def work(number):
        try:
            for round in range(40):
                text = b"worker %d round %d" % (number, round)
                written, result = run(broker, "upper", text)
                assert written == text.upper() and result.ok
                with open("greeting", opener=broker.opener("store")) as file:
                    assert file.read() == "hello\n"
                raises(BlockingIOError, broker.start, "busy")
        except BaseException:
            failures.append(traceback.format_exc())

    sleeper = broker.start("sleeper")
    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    sleeper.cancel()
    sleeper.wait(10)
    assert open_files() == before


def test_many_unread(broker):
    """Events that nobody waits for fill the socket and stop nobody."""
    workers = [broker.start("limited") for _ in range(2000)]
    assert all(worker.wait(10).limit == "wall-time" for worker in workers)


def malformed(broker, name):
    before = open_files()
    raises(bulkhead.ProtocolError, broker.connect, name)
    raises(bulkhead.ProtocolError, broker.ready)
    assert open_files() == before


def test_gone(broker):
    sleeper = broker.start("sleeper")
    raises(bulkhead.BrokerGone, broker.connect, "gone")
    raises(bulkhead.BrokerGone, sleeper.wait)
    raises(bulkhead.BrokerGone, broker.ready)


def test_close(broker):
    sleeper = broker.start("sleeper")
    ends = []
    thread = threading.Thread(target=lambda: ends.append(raises(bulkhead.BrokerGone, sleeper.wait)))
    thread.start()
    while not broker._reading:
        time.sleep(0.001)
    broker.close()
    thread.join(10)
    assert ends and not thread.is_alive()
    raises(bulkhead.BrokerGone, broker.ready)


def test_listen_sockets(broker):
    with socket.socket() as listening:
        listening.listen()
        if listening.fileno() != 3:  # 3 is the broker's here
            os.dup2(listening.fileno(), 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="http", LISTEN_PID=str(os.getpid()))
    sockets = bulkhead.listen_sockets()
    assert list(sockets) == ["http"] and not inheritable(sockets["http"])
    sockets["http"].detach()
    os.environ["LISTEN_PID"] = "1"
    assert bulkhead.listen_sockets() == {}


TESTS = {name[5:]: function for name, function in list(globals().items()) if name.startswith("test_")}


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print("\n".join(TESTS))
    elif sys.argv[1].startswith("bad-"):
        malformed(bulkhead.Broker(), sys.argv[1])
    else:
        TESTS[sys.argv[1]](bulkhead.Broker())

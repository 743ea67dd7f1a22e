"""The application as the demo runs it: laid out, started, stopped, gone."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOP = os.path.dirname(os.path.dirname(HERE))
CODE, STORE = "/srv/thumbnailer", "/srv/thumbs"
ADDRESS = ("127.0.0.1", 8080)

_MARK = ".made-by-the-demo"  # what bears it may be removed


class Trouble(Exception):
    """The demo cannot go on; the text says why."""


def lay_out():
    """Put the application where its policy expects it."""
    for place in (CODE, STORE):
        if os.path.exists(place) and not os.path.exists(os.path.join(place, _MARK)):
            raise Trouble("%s exists and is not the demo's: the demo does not touch it" % place)
    remove()
    for place in (CODE, STORE):
        os.makedirs(place)
        os.chmod(place, 0o755)
        open(os.path.join(place, _MARK), "x").close()
    for source in ("web.py", "pipeline.py", "upload.py", "store.py"):
        _copy(os.path.join(HERE, source))
    _copy(os.path.join(TOP, "broker/client/python/bulkhead.py"))
    programs = os.path.join(CODE, "hostile")
    os.mkdir(programs)
    os.chmod(programs, 0o755)
    for source in sorted(os.listdir(os.path.join(HERE, "hostile"))):
        program = os.path.join(programs, source[:-len(".c")])
        subprocess.run(["gcc", "-O2", "-o", program, os.path.join(HERE, "hostile", source)], check=True)
        os.chmod(program, 0o755)


def _copy(source):
    target = os.path.join(CODE, os.path.basename(source))
    shutil.copyfile(source, target)
    os.chmod(target, 0o644)


def remove():
    """Remove what lay_out has made."""
    for place in (CODE, STORE):
        if os.path.exists(os.path.join(place, _MARK)):
            shutil.rmtree(place)


class Application:
    """`sandbox run` of demo.yaml, in the background."""

    def __init__(self, sandbox):
        self._sandbox = sandbox
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen([sandbox, "run", os.path.join(HERE, "demo.yaml")], cwd=TOP,
                                         stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)

    def wait_until_it_serves(self, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Trouble("sandbox run ended with %d before it served" % self._process.returncode)
            try:
                return stats()
            except OSError:
                time.sleep(0.05)
        raise Trouble("the front end did not serve within %d s" % seconds)

    def inspect(self):
        """Return what `sandbox inspect` says and whether it succeeded."""
        done = subprocess.run([self._sandbox, "inspect", "thumbnailer"], capture_output=True, text=True, timeout=30)
        return done.stdout + done.stderr, done.returncode == 0

    def stop(self, seconds=20):
        """End it by SIGTERM and return its exit status, None if it would not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        """Make sure that it has ended, whatever happened."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log(self, lines=40):
        """Return the end of what it wrote."""
        self._log.flush()
        self._log.seek(0)
        return "".join(self._log.readlines()[-lines:])


def stats():
    connection = http.client.HTTPConnection(*ADDRESS, timeout=10)
    try:
        connection.request("GET", "/stats")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def remains():
    """Return what is left of an application that has ended: a list of words."""
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
            with open("/proc/%s/cgroup" % pid) as file:
                groups = file.read()
        except OSError:
            continue  # it has just ended
        if CODE + "/" in command or "thumbnailer/demo.yaml" in command or "/sandbox/thumbnailer" in groups:
            left.append("process %s: %s" % (pid, command))
    for directory, _, _ in os.walk("/sys/fs/cgroup"):
        if directory.endswith("/sandbox/thumbnailer"):
            left.append("cgroup " + directory)
    with open("/proc/self/mountinfo") as file:
        left += ["mount " + line.strip() for line in file if "/sandbox/thumbnailer" in line or CODE in line]
    if os.path.exists("/run/sandbox/thumbnailer"):
        left.append("directory /run/sandbox/thumbnailer")
    return left

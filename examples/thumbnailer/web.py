"""The thumbnailer's front end: HTTP in, thumbnails out.

    POST /upload     a JPEG, PNG or GIF as the body, or a form with a file
    GET  /thumb/ID   the thumbnail
    GET  /stats      what has happened so far, as JSON
    GET  /           a form

It runs as the component `web`: its listening socket is the grant `http`, the
directory for the thumbnails is the grant `store`, and pictures are decoded by
other components, one new worker for each request. With --demo the header
X-Decoder may name one of the hostile decoders of demo.yaml.
"""

import collections
import html
import http.server
import json
import os
import re
import secrets
import signal
import socket
import socketserver
import sys
import threading
import time

import bulkhead
import pipeline
import store
import upload

CONNECTIONS = 48         # served at once; more wait in the socket's queue
THUMBNAIL_SIZE = 1 << 20 # bytes
SECONDS = 30             # for a thumbnail, waiting for free workers included

FORM = """<!doctype html>
<title>Thumbnailer</title>
<h1>Thumbnailer</h1>
<form method="post" action="/upload" enctype="multipart/form-data">
<input type="file" name="image" accept="image/jpeg,image/png,image/gif" required>
<button>Upload</button>
</form>
"""

HOSTILE = re.compile("hostile-[a-z]+")


class Statistics:
    """What has happened since this process began."""

    def __init__(self):
        self._lock = threading.Lock()
        self._began = time.monotonic()
        # A pid in a namespace of its own is the same after a restart; this is not.
        self._instance = secrets.token_hex(8)
        self._statuses = collections.Counter()
        self._uploads = 0
        self._busiest = 0

    def __enter__(self):
        with self._lock:
            self._uploads += 1
            self._busiest = max(self._busiest, self._uploads)

    def __exit__(self, *_):
        with self._lock:
            self._uploads -= 1

    def answered(self, status):
        with self._lock:
            self._statuses[status] += 1

    def snapshot(self):
        with self._lock:
            return {
                "pid": os.getpid(),
                "instance": self._instance,
                "seconds": round(time.monotonic() - self._began, 3),
                "uploads": self._uploads,
                "busiest": self._busiest,
                "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
                "descriptors": len(os.listdir("/proc/self/fd")),
            }


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, listening, broker, demo):
        super().__init__(listening.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.broker = broker
        self.demo = demo
        self.store = store.Store(broker)
        self.statistics = Statistics()
        self._room = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request, client_address):
        self._room.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request, client_address):
        # A client that went away is no news; everything else goes to the log.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "thumbnailer"
    sys_version = ""
    timeout = 10  # for a request's header
    unread = False  # whether a body may stand in the socket still

    def parse_request(self):
        ok = super().parse_request()
        # One request for each connection: one that waits for its next
        # request would hold one of the CONNECTIONS.
        self.close_connection = True
        return ok

    def handle_expect_100(self):
        # "Go on" is said by do_POST, when the length is known to be right.
        return True

    def do_GET(self):
        if self.path == "/":
            self.answer(200, "text/html; charset=utf-8", FORM.encode())
        elif self.path == "/stats":
            self.answer_json(200, self.server.statistics.snapshot())
        elif self.path.startswith("/thumb/"):
            thumbnail = self.server.store.get(self.path[len("/thumb/"):])
            if thumbnail is None:
                self.fail(404, "there is no such thumbnail")
            else:
                self.answer(200, "image/jpeg", thumbnail)
        else:
            self.fail(404, "there is no such page")

    def do_POST(self):
        self.unread = True
        if self.path != "/upload":
            self.fail(404, "there is no such page")
            return
        try:
            with self.server.statistics:
                id = self.server.store.add(self.thumbnail())
        except upload.Refused as refusal:
            self.fail(refusal.status, str(refusal))
        except pipeline.Busy as busy:
            self.fail(503, str(busy), {"Retry-After": "1"}, component=busy.component)
        except pipeline.Failed as failure:
            self.fail(504 if failure.out_of_time else 422, failure.reason, component=failure.component)
        except (OSError, bulkhead.ProtocolError) as error:
            self.fail(500, "the thumbnailer itself failed: %s" % error)
        else:
            self.succeed(id)

    def thumbnail(self):
        size = upload.length(self.headers)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = upload.read(self.connection, self.rfile, size)
        self.unread = False
        self.connection.settimeout(self.timeout)
        with upload.picture(self.headers, body) as data:
            decoder = self.hostile() or upload.decoder(data)
            source = upload.sealed(data)
        body.clear()  # a decoder can take its time; no need for two copies
        try:
            return pipeline.run(self.server.broker, decoder, source, THUMBNAIL_SIZE, SECONDS)
        finally:
            os.close(source)

    def hostile(self):
        """Return the hostile decoder that the demo's driver asks for, if any."""
        name = self.headers.get("X-Decoder")
        if name is None or not self.server.demo:
            return None
        if not HOSTILE.fullmatch(name):
            raise upload.Refused(400, "X-Decoder names no hostile decoder")
        return name

    def succeed(self, id):
        path = "/thumb/" + id
        if self.wants_page():
            page = '<!doctype html>\n<title>Thumbnail</title>\n<img src="%s" alt="thumbnail">\n<p><a href="/">another</a>\n'
            self.answer(201, "text/html; charset=utf-8", (page % path).encode(), {"Location": path})
        else:
            self.answer_json(201, {"id": id, "thumbnail": path}, {"Location": path})

    def fail(self, status, reason, headers=None, component=None):
        if self.wants_page():
            page = "<!doctype html>\n<title>%d</title>\n<h1>%s</h1>\n<p>%s\n"
            words = html.escape(reason if component is None else "%s: %s" % (component, reason))
            phrase = self.responses[status][0]
            self.answer(status, "text/html; charset=utf-8", (page % (status, phrase, words)).encode(), headers)
        else:
            self.answer_json(status, {"error": reason, "component": component}, headers)

    def wants_page(self):
        return "text/html" in self.headers.get("Accept", "")

    def answer_json(self, status, value, headers=None):
        self.answer(status, "application/json", json.dumps(value).encode() + b"\n", headers)

    def answer(self, status, kind, body, headers=None):
        self.server.statistics.answered(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if self.unread:
            self.drain()

    def drain(self):
        """Read on for a moment: closing with unread bytes would reset the
        connection, and the client might never see the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 2
        left = 4 * upload.MAXIMUM
        try:
            while left > 0 and time.monotonic() < deadline:
                self.connection.settimeout(0.5)
                piece = self.rfile.read1(65536)
                if not piece:
                    return
                left -= len(piece)
        except OSError:
            pass

    def log_message(self, format, *arguments):
        sys.stderr.write("%s\n" % (format % arguments))


def main():
    broker = bulkhead.Broker()
    server = Server(bulkhead.listen_sockets()["http"], broker, "--demo" in sys.argv[1:])
    # serve_forever must run on while shutdown waits for it.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    broker.ready()
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()

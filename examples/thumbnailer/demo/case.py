"""One request to the front end, what it should bring and what it brought."""

import http.client
import json
import socket
import struct
import time

import application


class Case:
    """An upload. statuses are the HTTP statuses that are right for it, words
    must stand in the reason, and the answer must come within seconds."""

    def __init__(self, name, data, statuses, words="", seconds=15, headers=None):
        self.name = name
        self.data = data
        self.statuses = statuses
        self.words = words
        self.seconds = seconds
        self.headers = headers or {}
        self.status = None
        self.reason = ""
        self.milliseconds = 0
        self.problem = None

    def run(self):
        began = time.monotonic()
        try:
            self.status, self.reason = self._upload()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.problem = "no answer: %s" % error
        self.milliseconds = round((time.monotonic() - began) * 1000)
        if self.problem is None:
            self._judge()
        return self

    def _upload(self):
        connection = http.client.HTTPConnection(*application.ADDRESS, timeout=self.seconds + 5)
        try:
            connection.request("POST", "/upload", self.data, self.headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 201:
            parts = [answer.get("component"), answer["error"]]
            return response.status, ": ".join(part for part in parts if part)
        width, height = dimensions(fetch(answer["thumbnail"]))
        # pamscale -pixels=65536 rounds each side by itself.
        if not 0 < width * height <= 65536 + width + height:
            raise ValueError("the thumbnail has %d x %d pixels" % (width, height))
        return 201, "%d x %d" % (width, height)

    def _judge(self):
        if self.status not in self.statuses:
            self.problem = "status %d, not %s" % (self.status, expected(self.statuses))
        elif self.words not in self.reason:
            self.problem = "the reason does not say %r" % self.words
        elif "escaped" in self.reason:
            self.problem = "it got out"
        elif self.milliseconds > self.seconds * 1000:
            self.problem = "it took longer than %g s" % self.seconds


class Stalled(Case):
    """An upload that stops half-way."""

    def _upload(self):
        with socket.create_connection(application.ADDRESS, self.seconds + 5) as connection:
            connection.sendall(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + self.data)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, json.loads(response.read())["error"]


class Unmeasured(Case):
    """An upload that does not say how long it is."""

    def _upload(self):
        with socket.create_connection(application.ADDRESS, self.seconds + 5) as connection:
            connection.sendall(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, json.loads(response.read())["error"]


class Page(Case):
    """A GET; data is the path."""

    def _upload(self):
        connection = http.client.HTTPConnection(*application.ADDRESS, timeout=self.seconds + 5)
        try:
            connection.request("GET", self.data)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        return response.status, "" if response.status == 200 else json.loads(body)["error"]


def form(data):
    """Return data as a browser's form sends it, and the header for it."""
    boundary = "bulkhead-demo"
    body = (b"--%b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n%b\r\n--%b--\r\n"
            % (boundary.encode(), data, boundary.encode()))
    return body, {"Content-Type": "multipart/form-data; boundary=" + boundary}


def fetch(path):
    connection = http.client.HTTPConnection(*application.ADDRESS, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError("the thumbnail is not there: status %d" % response.status)
        return response.read()
    finally:
        connection.close()


def dimensions(jpeg):
    """Return width and height from the frame header of a JPEG."""
    if jpeg[:2] != b"\xff\xd8":
        raise ValueError("the thumbnail is no JPEG")
    position = 2
    while position + 9 <= len(jpeg):
        marker, length = jpeg[position + 1], struct.unpack_from(">H", jpeg, position + 2)[0]
        if marker in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack_from(">HH", jpeg, position + 5)
            return width, height
        position += 2 + length
    raise ValueError("the thumbnail has no frame header")


def expected(statuses):
    return " or ".join(map(str, sorted(statuses)))

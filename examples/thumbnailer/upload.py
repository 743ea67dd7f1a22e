"""One upload: from the socket into a sealed file in memory.

Nothing here looks into the picture. The first bytes choose the decoder; if
they lie, the decoder finds out, in its compartment.
"""

import email.message
import os
import time

import pipeline

MAXIMUM = 8 << 20  # bytes of a request's body
SECONDS = 10       # for a request's body to arrive

_MAGIC = [
    (b"\xff\xd8\xff", "decode-jpeg"),
    (b"\x89PNG\r\n\x1a\n", "decode-png"),
    (b"GIF87a", "decode-gif"),
    (b"GIF89a", "decode-gif"),
]


class Refused(Exception):
    """The request cannot be served; status is the HTTP status."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def length(headers):
    """Return the body's length, before any of it is read."""
    text = headers.get("Content-Length")
    if text is None:
        raise Refused(411, "say in Content-Length how long the upload is")
    if not (text.isascii() and text.isdigit()):
        raise Refused(400, "Content-Length is not a number")
    if int(text) > MAXIMUM:
        raise Refused(413, "an upload may have %d bytes" % MAXIMUM)
    return int(text)


def read(connection, stream, size):
    """Read a body of size bytes, in bounded time however slowly it comes."""
    deadline = time.monotonic() + SECONDS
    body = bytearray()
    while len(body) < size:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Refused(408, "the upload took longer than %d s" % SECONDS)
        connection.settimeout(remaining)
        try:
            piece = stream.read1(min(65536, size - len(body)))
        except TimeoutError:
            continue
        if not piece:
            raise Refused(400, "the upload ended after %d of %d bytes" % (len(body), size))
        body += piece
    return body


def picture(headers, body):
    """Return the picture in a body: all of it, or the file of the form."""
    content = email.message.Message()
    content["Content-Type"] = headers.get("Content-Type", "")
    if content.get_content_type() != "multipart/form-data":
        return memoryview(body)
    boundary = content.get_boundary()
    if not boundary:
        raise Refused(400, "the form has no boundary")
    line = b"--" + boundary.encode("latin-1", "replace")
    position = body.find(line)
    while position >= 0:
        start = position + len(line)
        end = body.find(b"\r\n" + line, start)
        if end < 0:
            break
        blank = body.find(b"\r\n\r\n", start, end)
        if blank >= 0 and b'filename="' in body[start:blank]:
            return memoryview(body)[blank + 4:end]
        position = end + 2
    raise Refused(400, "the form holds no file")


def decoder(data):
    """Return the component that decodes what begins like this."""
    for magic, component in _MAGIC:
        if data[:len(magic)] == magic:
            return component
    raise Refused(415, "the upload begins like no JPEG, PNG or GIF")


def sealed(data):
    """Return a file in memory with data, which nobody can change any more."""
    fd = pipeline.memory_file("upload", len(data))
    try:
        written = 0
        while written < len(data):
            written += os.write(fd, data[written:])
        pipeline.freeze(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd

"""The finished thumbnails: files in the granted directory `store`.

This process sees no directory; the monitor opens each file for it.
"""

import os
import re
import secrets

_ID = re.compile("[0-9a-f]{16}")


class Store:
    def __init__(self, broker):
        self._broker = broker

    def add(self, thumbnail):
        """Keep a thumbnail and return its id."""
        id = secrets.token_hex(8)
        fd = self._broker.open("store", id + ".jpg", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(fd, "wb", buffering=0) as file:
            try:
                # Once: what is in the directory is whole or, after a full
                # disk, empty, and get takes empty for absent.
                if file.write(thumbnail) != len(thumbnail):
                    raise OSError("the thumbnail was written only in part")
            except OSError:
                file.truncate(0)
                raise
        return id

    def get(self, id):
        """Return a thumbnail, or None."""
        if not _ID.fullmatch(id):
            return None
        try:
            fd = self._broker.open("store", id + ".jpg")
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            return file.read() or None

"""Real photographs and drawings: what Debian packages happen to ship."""

import hashlib
import os
import subprocess

MAXIMUM = 4 << 20      # bytes of one picture
MINIMUM = 2000         # bytes: smaller ones are icons
FOR_EACH_PACKAGE = 12  # pictures, so that no package is all there is

_MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif"}


class Picture:
    def __init__(self, path, data, format):
        self.name = os.path.basename(path)
        self.data = data
        self.format = format


def packages(path):
    """Return the packages that a file lists, one a line."""
    with open(path) as file:
        lines = (line.strip() for line in file)
        return [line for line in lines if line and not line.startswith("#")]


def pictures(names):
    """Return the largest pictures of the installed ones among these packages."""
    found = []
    for name in names:
        listed = subprocess.run(["dpkg", "-L", name], capture_output=True, text=True)
        different = {}
        for path in sorted(listed.stdout.splitlines()):
            picture = _picture(path)
            if picture is not None:
                different.setdefault(hashlib.sha256(picture.data).digest(), picture)
        found += sorted(different.values(), key=lambda picture: -len(picture.data))[:FOR_EACH_PACKAGE]
    return found


def _picture(path):
    try:
        if not path.startswith("/usr/share/") or not MINIMUM <= os.stat(path).st_size <= MAXIMUM:
            return None
        with open(path, "rb") as file:
            data = file.read()
    except OSError:  # a directory, or left out of a slim image
        return None
    for magic, format in _MAGIC.items():
        if data.startswith(magic):
            return Picture(path, data, format)
    return None

"""example.py DIRECTORY-GRANT FILE COMPONENT

Prints a file of a directory grant, then runs COMPONENT with the file as its standard
input and a pipe as its standard output, prints what it wrote and how it ended.
The same program stands in examples/ of the Go and the C client.
"""

import os
import sys

import bulkhead


def main(grant, path, component):
    broker = bulkhead.Broker()

    with open(path, "rb", opener=broker.opener(grant)) as file:
        sys.stdout.buffer.write(file.read())
    sys.stdout.flush()

    source = broker.open(grant, path)
    reader, writer = os.pipe()
    worker = broker.start(component, {0: source, 1: writer})
    os.close(source)
    os.close(writer)  # or the reader would wait for this process's own end of the pipe
    with open(reader, "rb") as output:
        sys.stdout.buffer.write(output.read())
    sys.stdout.flush()

    result = worker.wait()
    print("%s: %s" % (component, result))
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Run the thumbnailer and attack it: python3 examples/thumbnailer/demo

Starts demo.yaml under `sandbox run`, feeds it real pictures and hostile ones,
checks every answer and prints what happened. Exits with 0 if everything was as
expected and nothing is left behind, with 1 if not.
"""

import argparse
import collections
import concurrent.futures
import itertools
import os
import sys

# The checkout belongs to somebody else when this runs as root.
sys.dont_write_bytecode = True

import application
import mutation
import corpus
from case import Case, Page, Stalled, Unmeasured, expected, form

MINIMUM_PICTURES = 24


def good(pictures):
    """One case for each picture."""
    return [Case("%s %s" % (p.format, p.name), p.data, {201}) for p in pictures]


def hostile_pictures(pictures):
    """Cases of pictures that are not what they say."""
    # In the middle by size: large enough to break in many ways.
    first = {}
    for format in ("jpeg", "png", "gif"):
        of_format = sorted((p for p in pictures if p.format == format), key=lambda p: len(p.data))
        first[format] = of_format[len(of_format) // 2].data
    for format, data in first.items():
        yield Case("%s, truncated" % format, mutation.truncated(data), {422}, "decode-" + format)
        # A flipped bit is an error to some decoders and a wrong colour to
        # others: both are right, and each costs its own request only.
        for seed in range(4):
            yield Case("%s, flipped bits %d" % (format, seed), mutation.flipped(data, seed), {201, 422})
    yield Case("jpeg, huge dimensions", mutation.huge_jpeg(first["jpeg"]), {422, 504})
    yield Case("png, huge dimensions", mutation.huge_png(first["png"]), {422}, "decode-png")
    yield Case("gif, huge dimensions", mutation.huge_gif(first["gif"]), {422, 504})
    yield Case("png, bomb of 2.7 GB", mutation.bomb_png(), {422}, "memory limit")
    yield Case("gif, bomb of 900 megapixels", mutation.bomb_gif(), {422, 504}, "limit")
    yield Case("gif that is a png", b"GIF89a" + first["png"], {422}, "decode-gif")
    yield Case("three magic bytes", b"\xff\xd8\xff", {422}, "decode-jpeg")
    yield Case("text", b"hello", {415})
    yield Case("nothing", b"", {415})
    yield Case("too large by a byte", bytes((8 << 20) + 1), {413})
    yield Unmeasured("no length", b"", {411})
    yield Stalled("an upload that stalls", b"\xff\xd8\xff", {408}, seconds=13)
    body, headers = form(first["png"])
    yield Case("form with a png", body, {201}, headers=headers)
    yield Case("form without an end", body[:-30], {400}, headers=headers)


def hostile_decoders(picture):
    """Cases of decoders that attack; an exploit would make one of a real one."""
    for name, statuses, words in (
            ("segfault", {422}, "SIGSEGV"),
            ("loop", {504}, "cpu-time limit"),
            ("memory", {422}, "memory limit"),
            ("fork", {504}, "limit"),
            ("endless", {504}, "limit"),
            ("sleep", {504}, "wall-time limit"),
            ("escape", {422}, "hostile-escape")):
        # Long enough for every wall-time limit of demo.yaml.
        yield Case("decoder: " + name, picture.data, statuses, words, 28, {"X-Decoder": "hostile-" + name})
    yield Case("decoder that does not exist", picture.data, {500}, headers={"X-Decoder": "hostile-nobody"})
    yield Case("decoder with a bad name", picture.data, {400}, headers={"X-Decoder": "../web"})


def pages():
    yield Page("the form", "/", {200})
    yield Page("no such page", "/etc/shadow", {404})
    yield Page("a thumbnail that never was", "/thumb/0123456789abcdef", {404})
    yield Page("a path instead of an id", "/thumb/../../etc/shadow", {404})


class Demo:
    def __init__(self):
        self.cases = []
        self.problems = []

    def run(self, cases, together=1):
        """Run cases, some at once, and return them."""
        with concurrent.futures.ThreadPoolExecutor(together) as pool:
            done = list(pool.map(lambda case: case.run(), cases))
        self.cases += done
        return done

    def expect(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def attack(self, pictures):
        """Everything, in the order in which it gets worse."""
        before = application.stats()
        self.run(good(pictures), together=8)
        self.run(pages())

        between = itertools.cycle(good(pictures[::5]))
        largest = max((p for p in pictures if p.format == "jpeg"), key=lambda p: len(p.data))
        for case in [*hostile_pictures(pictures), *hostile_decoders(largest)]:
            self.run([case])
            witness = next(between)
            self.run([Case("  after it: " + witness.name, witness.data, {201})])

        # Two run, two wait, and there is no room for the others.
        sleepers = [Case("decoder: sleep, 8 at once", largest.data, {503, 504},
                         headers={"X-Decoder": "hostile-sleep"}) for _ in range(8)]
        self.run(sleepers, together=8)
        refused = sum(case.status == 503 for case in sleepers)
        self.expect(refused == 4, "of 8 requests for 2 workers and a queue of 2, %d were refused, not 4" % refused)

        # Good and hostile ones at the same time. Those that sleep may be more
        # than their workers and their queue; in a crowd all take longer.
        attackers = itertools.chain.from_iterable(hostile_decoders(largest) for _ in itertools.count())
        crowd = []
        for case, attacker in zip(good(pictures[::3]), attackers):
            attacker.statuses, attacker.words = attacker.statuses | {503, 504}, ""
            crowd += [case, attacker]
        for case in crowd:
            case.name, case.seconds = "together: " + case.name, 28
        self.run(crowd, together=10)

        after = application.stats()
        for what in ("pid", "instance"):
            self.expect(before[what] == after[what], "the front end was restarted: its %s changed" % what)
        self.expect(after["descriptors"] <= before["descriptors"],
                    "the front end has %d open descriptors, before %d" % (after["descriptors"], before["descriptors"]))
        return after

    def table(self):
        print("\n%-36s %-12s %6s %7s  %s" % ("input", "expected", "status", "ms", "what happened"))
        for case in self.cases:
            words = case.reason[:100] if case.problem is None else "WRONG: %s (%s)" % (case.problem, case.reason)
            print("%-36.36s %-12s %6s %7d  %s" % (
                case.name, expected(case.statuses), case.status or "-", case.milliseconds, words))
        self.problems += ["%s: %s" % (case.name, case.problem) for case in self.cases if case.problem]

    def counts(self, stats):
        statuses = collections.Counter(case.status for case in self.cases)
        print("\n%d requests: %s" % (len(self.cases), ", ".join(
            "%d with %s" % (count, status) for status, count in sorted(statuses.items(), key=str))))
        print("front end: process %d all the time, %d uploads at once at most, %d open descriptors at the end" % (
            stats["pid"], stats["busiest"], stats["descriptors"]))


def run(sandbox):
    pictures = corpus.pictures(corpus.packages(os.path.join(application.HERE, "packages.txt")))
    if len(pictures) < MINIMUM_PICTURES:
        raise application.Trouble("only %d pictures: install the packages of packages.txt" % len(pictures))
    left = application.remains()
    if left:
        raise application.Trouble("there is something of an earlier run:\n" + "\n".join(left))
    demo = Demo()
    application.lay_out()
    running = application.Application(sandbox)
    try:
        running.wait_until_it_serves()
        stats = demo.attack(pictures)
        demo.table()
        demo.counts(stats)
        text, ok = running.inspect()
        print("\nsandbox inspect thumbnailer\n" + text)
        demo.expect(ok, "sandbox inspect failed")
        status = running.stop()
        demo.expect(status == 0, "sandbox run ended with %s after SIGTERM, not with 0" % status)
    except BaseException:
        print("what sandbox run wrote at the end:\n" + running.log(), file=sys.stderr)
        raise
    finally:
        running.kill()
        left = application.remains()
        application.remove()
    demo.problems += ["left behind: " + what for what in left]
    if demo.problems:
        print("what sandbox run wrote at the end:\n" + running.log(), file=sys.stderr)
    return demo.problems


def main():
    parser = argparse.ArgumentParser(prog="demo", description="Run the thumbnailer and attack it.")
    parser.add_argument("--sandbox", default=os.path.join(application.TOP, "bin/sandbox"), help="the launcher")
    try:
        problems = run(parser.parse_args().sandbox)
    except application.Trouble as trouble:
        problems = [str(trouble)]
    for problem in problems:
        print("demo: " + problem, file=sys.stderr)
    if not problems:
        print("everything was as expected, and nothing is left behind")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

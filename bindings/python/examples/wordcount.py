"""Word count over all files below some directories.

    python -m libray wordcount.py [--check] [--top N] [--chunk SIZE] [DIR...]

The program says `import ray`; RAY_ADDRESS=HOST:PORT runs it over a cluster, unchanged. A word is a run of ASCII
letters and digits, upper and lower case apart. The driver finds the files and cuts them into chunks; a map task counts
the words of a chunk, and a tree of reduce tasks merges the tables, two at a time, so that the driver sees only the last
one. The tasks in flight are bounded.

A word that lies across the border of two chunks belongs to the chunk in which it begins. A file is taken at the size
that it had when it was found. Files may change or vanish meanwhile; those that cannot be read are reported.
"""

import argparse
import collections
import errno
import os
import re
import stat
import sys
import time

import ray

BINARY_HEAD = 8 << 10
WORD = re.compile(rb"[A-Za-z0-9]+")
BINARY, EMPTY_DIRECTORY, NO_FILE = -1, -2, -3  # reasons beside errno's
REASONS = {BINARY: "binary file", EMPTY_DIRECTORY: "empty directory", NO_FILE: "neither a regular file nor a directory"}
MAX_CHUNK = 1 << 30

Piece = collections.namedtuple("Piece", "path offset length file_size")


class Table:
    """What tasks return: the words of some pieces, and the files that could not be counted."""

    def __init__(self):
        self.words = collections.Counter()
        self.files = self.bytes = 0
        self.skipped = {}  # path: reason


# ---- tasks ----


def is_word(byte):
    return WORD.match(byte) is not None


def read_piece(piece, file):
    """(the text of the words that begin in it, how many bytes of it there were)."""
    before = 1 if piece.offset else 0  # look at the byte before: is the piece's first word another's?
    file.seek(piece.offset - before)
    text = file.read(piece.length + before)
    count = max(0, len(text) - before)
    if before:
        start = WORD.match(text)
        text = text[start.end() if start else 1:]
    # The last word may go on behind the piece: so does the text then, as far as that word does.
    at = piece.offset + count
    while count == piece.length and at < piece.file_size and text and is_word(text[-1:]):
        more = file.read(min(4096, piece.file_size - at))
        rest = WORD.match(more)
        text += rest.group() if rest else b""
        at += len(more)
        if not more or not rest or rest.end() < len(more):
            break
    return text, count


def count_piece(table, piece):
    """The reason not to count it; 0: it is counted."""
    try:
        descriptor = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return NO_FILE
            if b"\0" in file.read(min(piece.file_size, BINARY_HEAD)):
                return BINARY
            text, count = read_piece(piece, file)
    except OSError as error:
        return error.errno
    table.words.update(WORD.findall(text))
    table.bytes += count
    table.files += piece.offset == 0
    return 0


@ray.remote
def count_words(pieces):
    table = Table()
    for piece in pieces:
        reason = count_piece(table, piece)
        if reason != 0:
            table.skipped[piece.path] = reason
    return table


@ray.remote
def merge_tables(a, b):
    a.words.update(b.words)
    a.files += b.files
    a.bytes += b.bytes
    a.skipped.update(b.skipped)
    return a


# ---- finding files ----


class Files:
    """Paths and sizes of regular files, and why others are none."""

    def __init__(self):
        self.sizes = {}
        self.skipped = {}

    def _look_at(self, path):
        """What is below it, if it is a directory. A regular file is kept; what is neither is passed over."""
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode):
            self.sizes[path] = status.st_size
        if not stat.S_ISDIR(status.st_mode):
            return []
        names = os.listdir(path)
        if not names:
            self.skipped[path] = EMPTY_DIRECTORY
        return [os.path.join(path, name) for name in names]

    def _add(self, path):
        todo = [path]
        while todo:
            path = todo.pop()
            try:
                todo += self._look_at(path)
            except OSError as error:
                self.skipped[path] = error.errno

    def begin(self, directory):
        """Symbolic links count only here."""
        path = os.path.realpath(directory)
        if not os.path.exists(path):
            self.skipped[directory] = errno.ENOENT
        elif not os.path.isfile(path) and not os.path.isdir(path):
            self.skipped[path] = NO_FILE
        else:
            self._add(path)


# ---- the driver ----


class Tree:
    """Merges tables two at a time, done or not, like adding 1 to a binary number: two of a kind are one of the next."""

    def __init__(self, watch):
        self.levels = []
        self.watch = watch

    def merge(self, a, b):
        return self.watch(merge_tables.remote(a, b))

    def add(self, ref):
        for level, other in enumerate(self.levels):
            if other is None:
                self.levels[level] = ref
                return
            ref, self.levels[level] = self.merge(other, ref), None
        self.levels.append(ref)

    def finish(self):
        """None: there was nothing."""
        whole = None
        for ref in filter(None, self.levels):  # the small ones first
            whole = self.merge(ref, whole) if whole else ref
        return whole


def chunks(files, size):
    """Lists of pieces of at most so many bytes together: small files share one."""
    batch, total = [], 0
    for path, file_size in sorted(files.sizes.items()):
        for at in range(0, file_size or 1, size):
            length = min(size, file_size - at)
            if batch and total + length > size:
                yield batch
                batch, total = [], 0
            batch.append(Piece(path, at, length, file_size))
            total += length
    if batch:
        yield batch


def count_files(files, chunk_size):
    """(the table, the number of tasks)."""
    in_flight, tasks = [], 0
    most = 8 + 8 * int(ray.cluster_resources().get("CPU", 1))  # enough that no CPU is ever idle

    def watch(ref):
        nonlocal in_flight, tasks
        tasks += 1
        in_flight.append(ref)
        while len(in_flight) >= most:
            done, in_flight = ray.wait(in_flight, num_returns=1, fetch_local=False)
        return ref

    tree = Tree(watch)
    for pieces in chunks(files, chunk_size):
        tree.add(watch(count_words.remote(pieces)))
    whole = tree.finish()
    return (ray.get(whole) if whole else Table()), tasks


# ---- what the user sees ----


def report(skipped):
    """One line a path; {kind: how many}."""
    kinds = collections.Counter()
    for path, reason in sorted(skipped.items()):
        shown = "".join("?" if c < " " else c for c in path)  # a name can have line breaks
        shown = os.fsencode(shown).decode(errors="replace")
        print(f"wordcount: {shown}: skipped: {REASONS.get(reason) or os.strerror(reason)}", file=sys.stderr)
        kinds[{BINARY: "binary", EMPTY_DIRECTORY: "empty", errno.ENOENT: "missing"}.get(reason, "unreadable")] += 1
    return kinds


def is_same_as_plain(files, table):
    """Counts once more, in a loop, with nothing of Ray's."""
    start = time.monotonic()
    plain = Table()
    for path, size in files.sizes.items():
        count_piece(plain, Piece(path, 0, size, size))
    took = time.monotonic() - start
    if (plain.words, plain.files, plain.bytes) != (table.words, table.files, table.bytes):
        print(f"wordcount: check failed: {plain.files} files, {plain.bytes} bytes, {plain.words.total()} words, "
              f"{len(plain.words)} different in the plain count", file=sys.stderr)
        return False
    print(f"check     same table; the plain count took {took:.3f} s")
    return True


def size_of(text):
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    size = int(found[1]) << (10 * " KMG".index(found[2] or " ")) if found else 0
    if not 1 <= size <= MAX_CHUNK:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MAX_CHUNK}, or with K, M or G, got {text}")
    return size


def parse():
    parser = argparse.ArgumentParser(prog="wordcount",
                                     description="Counts the words of all regular files below the DIRs.",
                                     epilog="Exit status: 0 all was counted, 1 something was skipped, 2 an error.")
    parser.add_argument("directories", nargs="*", metavar="DIR", default=["/usr/share/doc",
                                                                          "/usr/share/common-licenses"],
                        help="default: /usr/share/doc and /usr/share/common-licenses")
    parser.add_argument("--check", action="store_true", help="count once more in a plain loop, and compare the tables")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="print the N most frequent words (default 10)")
    parser.add_argument("--chunk", type=size_of, default=1 << 20, metavar="SIZE",
                        help="bytes a map task reads, with K, M or G for KiB, MiB, GiB (default 1M)")
    return parser.parse_args()


def main():
    options = parse()
    ray.init()
    start = time.monotonic()
    files = Files()
    for directory in options.directories:
        files.begin(directory)
    table, tasks = count_files(files, options.chunk)
    took = time.monotonic() - start

    skipped = report({**files.skipped, **table.skipped})
    for word, count in sorted(table.words.items(), key=lambda item: (-item[1], item[0]))[:options.top]:
        print(f"{count:12}  {word.decode()}")
    print(f"files     {table.files}")
    print(f"bytes     {table.bytes}")
    print(f"words     {table.words.total()}, {len(table.words)} different")
    print(f"skipped   {skipped.total()}: {skipped['binary']} binary, {skipped['unreadable']} unreadable, "
          f"{skipped['empty']} empty, {skipped['missing']} missing")
    print(f"seconds   {took:.3f}")
    print(f"tasks     {tasks}")
    failed = options.check and not is_same_as_plain(files, table)
    ray.shutdown()
    return 2 if failed else 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())

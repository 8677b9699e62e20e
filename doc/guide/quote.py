#!/usr/bin/env python3
"""quote.py [--check]: fills the code blocks of the guide from the examples.

A chapter has

    <!-- quote examples/01_task.c main -->
    ```c
    ...
    ```

and the block becomes what stands in that file between the lines /* [main */ and /* main] */. Without a name it becomes
the whole file. Marker lines are left out, and indentation that all lines share is removed. With --check nothing is
written: the exit status is 1 if a block is stale, and each is named.
"""
import pathlib
import re
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
QUOTE = re.compile(r"^<!-- quote (?P<path>\S+)(?: (?P<name>\S+))? -->\n```\w*\n(?P<code>.*?)^```$", re.M | re.S)
ANY_QUOTE = re.compile(r"^<!-- quote .*$", re.M)
MARKER = re.compile(r"^\s*/\* (\[\w+|\w+\]) \*/$")


def region(path, name):
    """The lines of a file, or of a named region of it."""
    try:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if name:
        at = {m.group(1): i for i, line in enumerate(lines) if (m := MARKER.match(line))}
        if f"[{name}" not in at or f"{name}]" not in at:
            raise ValueError(f"{path} has no region {name}")
        lines = lines[at[f"[{name}"] + 1 : at[f"{name}]"]]
    lines = [line for line in lines if not MARKER.match(line)]
    return textwrap.dedent("\n".join(lines)).strip("\n") + "\n"


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    bad = 0
    for chapter in sorted(HERE.glob("*.md")):
        text = chapter.read_text(encoding="utf-8")
        stale = []

        def fill(match):
            code = region(match["path"], match["name"])
            if code != match["code"]:
                stale.append(" ".join(filter(None, (match["path"], match["name"]))))
            head = match.group(0)[: match.start("code") - match.start(0)]
            return head + code + "```"

        try:
            if len(QUOTE.findall(text)) != len(ANY_QUOTE.findall(text)):
                raise ValueError("a quote is not followed by a code block")
            new = QUOTE.sub(fill, text)
        except ValueError as error:
            print(f"{chapter.name}: {error}", file=sys.stderr)
            bad += 1
            continue
        if arguments:
            for what in stale:
                print(f"{chapter.name}: stale: {what} (run doc/guide/quote.py)", file=sys.stderr)
            bad += len(stale)
        elif stale:
            chapter.write_text(new, encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""counts.py JUNIT STATUS: prints "PASSED FAILED SKIPPED" of one `meson test`, which ended with STATUS.

A test that reports in TAP counts once a sub-test, any other once. What meson holds against the run and no test case
shows (a program that ended too early) is one failure.
"""
import sys
import xml.etree.ElementTree


def count(junit, status):
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(junit).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


if __name__ == "__main__":
    print(*count(sys.argv[1], int(sys.argv[2])))

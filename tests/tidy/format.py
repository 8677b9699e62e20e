#!/usr/bin/env python3
"""format.py CLANG_FORMAT ROOT [FOLDER...]: fails where clang-format would lay out a C file in another way.

Left out is include/ray/detail.h, whose macros are laid out by hand.
"""
import subprocess
import sys

import tidy


def main():
    clang_format, root, folders = sys.argv[1], sys.argv[2], sys.argv[3:]
    tree = tidy.Tree(root)
    paths = [file.path for folder in folders for file in tree.under(folder, [".c", ".h"])
             if file.path not in tidy.GENERATED_LAYOUT]
    if not paths:
        print("nothing to check")
        return 1
    return subprocess.run([clang_format, "--dry-run", "-Werror", "--ferror-limit=3", *paths], cwd=root).returncode


if __name__ == "__main__":
    sys.exit(main())

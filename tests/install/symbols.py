#!/usr/bin/env python3
"""Every public function is declared, described, listed in libray.map and exported, and nothing else is.

Usage: symbols.py SOURCE_ROOT [LIBRARY.so]; without a library the headers are compared with the map only.
"""

import re
import subprocess
import sys
from pathlib import Path


def declared(root):
    """{function: (header, has a docstring right before it)} of the public headers."""
    found = {}
    for header in sorted((root / 'include' / 'ray').glob('*.h')):
        text = header.read_text()
        for match in re.finditer(r'^RAY_API\s[^;{]*?\b(ray_\w+)\(', text, re.M):
            before = text[:match.start()].rstrip()
            comment = before[before.rfind('/*'):] if before.endswith('*/') else ''
            found[match[1]] = header.name, comment.startswith('/**') and len(comment) > 20
        if len(re.findall(r'^RAY_API\s', text, re.M)) != sum(h == header.name for h, _ in found.values()):
            raise SystemExit(f'FAIL {header.name}: a declaration that this script cannot read')
    return found


def main():
    """Prints a line for each check."""
    root = Path(sys.argv[1])
    functions = declared(root)
    text = re.sub(r'/\*.*?\*/', '', (root / 'lib' / 'libray.map').read_text(), flags=re.S)
    listed = re.findall(r'^\s*(\w+);', text, re.M)
    failed = False

    def check(name, wrong):
        nonlocal failed
        failed |= bool(wrong)
        print(f'FAIL {name}: {", ".join(sorted(wrong))}' if wrong else f'ok {name}')

    check('declared functions are described', {n for n, (_, has) in functions.items() if not has})
    check('declared functions are in the map', set(functions) - set(listed))
    check('functions in the map are declared', set(listed) - set(functions))
    check('functions are in the map once', {n for n in listed if listed.count(n) > 1})
    check('the map hides the rest', set() if re.search(r'local:\s*\*;', text) else {'local: *'})
    if len(sys.argv) > 2:
        library = sys.argv[2]
        out = subprocess.run(['nm', '-D', '--defined-only', library], check=True, capture_output=True, text=True).stdout
        symbols = {line.split()[2].split('@')[0] for line in out.splitlines() if line.split()[1] != 'A'}
        check('functions are exported', set(functions) - symbols)
        check('nothing else is exported', symbols - set(functions))
        out = subprocess.run(['readelf', '-d', library], check=True, capture_output=True, text=True).stdout
        check('the SONAME is libray.so.0', set() if 'soname: [libray.so.0]' in out else {'it is not'})
        check('it cannot be unloaded', set() if 'NODELETE' in out else {'no -z nodelete'})
    return failed


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""Compiles what must compile and what must not, and judges what the compilers say.

Each case of cases.c is a mistake in the use of a macro. It costs one error whose line has the words, at most 15 lines
from gcc and 30 from clang. Each public header stands alone, in C and in C++. Usage: run.py SOURCE_ROOT
"""

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
HERE = ROOT / 'tests' / 'compile'
MOST_LINES = {'gcc': 15, 'clang': 30}
STRICT = ['-Wall', '-Wextra', '-Wpedantic', '-Wredundant-decls', '-Wshadow', '-Werror']
STRICT_C = STRICT + ['-Wstrict-prototypes', '-Wmissing-prototypes']
CASE = re.compile(r'^#(?:el)?if CASE == (\d+) +/\* (warning: )?(.*) \*/$', re.M)


def compiler(name):
    """The compiler of that name, or of that name with the oldest version we support; None if there is none."""
    for candidate in (name, {'gcc': 'gcc-12', 'clang': 'clang-14', 'g++': 'g++-12', 'clang++': 'clang++-14'}[name]):
        path = shutil.which(candidate)
        if path:
            return path
    return None


def compile_text(path, flags, source, language=None):
    """Compiles a file, or a text given with its language; returns (exit status, output)."""
    command = [path, f'-I{ROOT}/include', '-c', '-o', '/dev/null', *flags]
    command += ['-x', language, '-'] if language else [str(source)]
    done = subprocess.run(command, input=source if language else None, text=True, capture_output=True,
                          env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C'})
    return done.returncode, done.stderr


def judge_mistake(name, words, is_warning, status, output):
    """What is wrong with a compiler's answer to a mistake, or None."""
    lines = output.splitlines()
    told = [line for line in lines if re.search(r'(error|warning):', line)]
    errors = [line for line in told if 'error:' in line]
    if is_warning:
        if status != 0 or errors:
            return f'is an error: {told[:1]}'
        if len(told) != 1:
            return f'{len(told)} warnings instead of one'
    else:
        if status == 0:
            return 'compiles'
        if len(errors) != 1:
            return f'{len(errors)} errors instead of one: {errors}'
        if told[0] != errors[0]:
            return f'says something else first: {told[0]}'
    if words not in told[0]:
        return f'"{words}" is not in: {told[0]}'
    if 'cases.c:' not in told[0]:
        return f'does not point at the user\'s line: {told[0]}'
    if len(lines) > MOST_LINES[name]:
        return f'{len(lines)} lines, more than {MOST_LINES[name]}'
    return None


def clean(path, flags, source, language=None):
    """None if that compiles without a word, else the first of them."""
    status, output = compile_text(path, flags, source, language)
    return None if status == 0 and not output else (output.splitlines() or ['no reason'])[-1] if status == 0 else \
        next((line for line in output.splitlines() if 'error' in line), output[:200])


HIDDEN = '#include <ray/ray.h>\nstatic RAY_REMOTE(int64_t, hidden, (int64_t, x)) { return x; }\n'


def two_hidden(path, *flags):
    """None if two files may each keep a function of the same name."""
    with tempfile.TemporaryDirectory() as folder:
        for file in ('a', 'b'):
            Path(folder, f'{file}.c').write_text(HIDDEN)
        done = subprocess.run([path, '-std=c11', *flags, *STRICT_C, f'-I{ROOT}/include', '-fPIC', '-shared', '-o',
                               f'{folder}/ab.so', f'{folder}/a.c', f'{folder}/b.c'], capture_output=True, text=True)
        return done.stderr or None


def checks():
    """All checks as (name, function without arguments)."""
    text = (HERE / 'cases.c').read_text()
    cases = [(int(n), bool(w), words) for n, w, words in CASE.findall(text)]
    numbers = {number for number, _, _ in cases}
    once = len(numbers) == len(cases) == text.count('if CASE ==')
    yield 'cases: each number once', lambda: None if once else 'a case is listed twice or has no words'
    for name in ('gcc', 'clang'):
        path = compiler(name)
        if not path:
            yield f'{name}: skipped, not installed', lambda: None
            continue
        for number, is_warning, words in sorted(cases):
            def mistake(name=name, path=path, number=number, is_warning=is_warning, words=words):
                answer = compile_text(path, ['-std=c11', f'-DCASE={number}'] + (['-Wall'] if number == 0 else []),
                                      HERE / 'cases.c')
                return judge_mistake(name, words, is_warning, *answer)
            yield f'{name}: case {number}: {words}', mistake
        for standard in ('c11', 'gnu11', 'gnu17'):
            for file in ('cases.c', 'good.c', 'twice.c'):
                yield (f'{name}: {file} as {standard}', lambda path=path, standard=standard, file=file:
                       clean(path, [f'-std={standard}', '-DCASE=0', *STRICT_C], HERE / file))
        for optimise in ('-O0', '-O2', '-O2 -flto'):
            yield (f'{name}: two files with a static function of one name link, {optimise}',
                   lambda path=path, optimise=optimise: two_hidden(path, *optimise.split()))
    for name, language, standard in (('gcc', 'c', 'c11'), ('clang', 'c', 'c11'), ('g++', 'c++', 'c++17'),
                                     ('clang++', 'c++', 'c++17')):
        path = compiler(name)
        if not path:
            yield f'{name}: skipped, not installed', lambda: None
            continue
        for header in sorted((ROOT / 'include' / 'ray').glob('*.h')):
            if header.name == 'detail.h':
                continue
            twice = f'#include <ray/{header.name}>\n' * 2
            yield (f'{name}: {header.name} alone as {standard}', lambda path=path, s=standard, t=twice, l=language:
                   clean(path, [f'-std={s}', *STRICT], t, l))
        if language == 'c++':
            yield (f'{name}: declarations as {standard}', lambda path=path, s=standard:
                   clean(path, [f'-std={s}', *STRICT], HERE / 'declarations.cpp'))


def main():
    """Runs the checks, two at a time, and prints a line for each."""
    def run(check):
        name, function = check
        try:
            return name, function()
        except Exception as failure:  # a check that breaks has failed
            return name, repr(failure)

    failed = 0
    with ThreadPoolExecutor(2) as pool:
        for name, why in pool.map(run, checks()):
            print(f'FAIL {name}: {why}' if why else f'ok {name}')
            failed += bool(why)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

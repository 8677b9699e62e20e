#!/usr/bin/env python3
"""Installs a build into an empty folder and builds a program against it, as a user would.

With gcc and clang through pkg-config, shared and static, and through CMake; each program is run.
Usage: run.py SOURCE_ROOT BUILD_ROOT
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE, BUILD = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
HERE = SOURCE / 'tests' / 'install'
failed = False


def report(name, why=None):
    """One line for a check."""
    global failed
    failed |= bool(why)
    print(f'FAIL {name}: {why}' if why else f'ok {name}', flush=True)


def attempt(name, *command, **more):
    """Runs a command, reports its failure; returns its output, or None."""
    environment = os.environ | {'LC_ALL': 'C'} | more
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if done.returncode:
        report(name, f'{command[0]} gives {done.returncode}: {(done.stdout + done.stderr).strip()[-1500:]}')
        return None
    return done.stdout


def main():
    """Installs and builds; the folder goes away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix='ray-install-'))
    try:
        if attempt('install', 'meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', folder) is None:
            return
        pc = next(folder.rglob('ray.pc'), None)
        header = next(folder.rglob('ray/ray.h'), None)
        shared = next(folder.rglob('libray.so'), None)
        static = next(folder.rglob('libray.a'), None)
        for name, path in (('ray.pc', pc), ('ray/ray.h', header), ('libray.so', shared), ('libray.a', static)):
            report(f'{name} is installed', None if path else 'it is not there')
        if not (pc and header and shared and static):
            return
        prefix = header.parents[2]
        report('libray.so.0 is a link to it', None if (shared.parent / 'libray.so.0').exists() else 'it is not there')
        use_launcher(prefix, shared)
        use_pkg_config(folder, prefix, pc, shared, static)
        use_cmake(folder, prefix, shared)
    finally:
        shutil.rmtree(folder)


def use_launcher(prefix, shared):
    """raylaunch finds the installed library and says its version."""
    said = attempt('raylaunch', prefix / 'bin' / 'raylaunch', '--version', LD_LIBRARY_PATH=str(shared.parent))
    if said is not None:
        report('raylaunch', None if said.startswith('raylaunch ') else f'it says {said!r}')


def use_pkg_config(folder, prefix, pc, shared, static):
    """gcc and clang with the flags of ray.pc."""
    if not shutil.which('pkg-config'):
        return report('pkg-config: skipped, not installed')

    def flags(*what):
        out = attempt('pkg-config', 'pkg-config', f'--define-variable=prefix={prefix}', *what, 'ray',
                      PKG_CONFIG_PATH=str(pc.parent))
        return out.split() if out is not None else []

    for compiler in ('gcc', 'clang'):
        if not shutil.which(compiler):
            report(f'{compiler}: skipped, not installed')
            continue
        app = folder / f'app-{compiler}'
        if attempt(f'{compiler}, shared', compiler, '-Wall', '-Werror', '-o', app, HERE / 'app.c',
                   *flags('--cflags', '--libs')) is not None:
            if attempt(f'{compiler}, shared', app, LD_LIBRARY_PATH=str(shared.parent)) is not None:
                report(f'{compiler}, shared')
        libraries = [str(static) if flag == '-lray' else flag for flag in flags('--static', '--cflags', '--libs')]
        app = folder / f'app-{compiler}-static'
        if attempt(f'{compiler}, static', compiler, '-Wall', '-Werror', '-o', app, HERE / 'app.c',
                   *libraries) is not None:
            needs = attempt(f'{compiler}, static', 'readelf', '-d', app) or 'libray.so'
            if attempt(f'{compiler}, static', app) is not None:
                report(f'{compiler}, static', 'it still needs libray.so' if 'libray.so' in needs else None)


def use_cmake(folder, prefix, shared):
    """find_package(ray CONFIG), both targets."""
    if not shutil.which('cmake'):
        return report('cmake: skipped, not installed')
    project, build = folder / 'project', folder / 'project-build'
    project.mkdir()
    for file in ('app.c', 'CMakeLists.txt'):
        shutil.copy(HERE / file, project)
    if attempt('cmake', 'cmake', '-S', project, '-B', build, f'-DCMAKE_PREFIX_PATH={prefix}') is None or \
            attempt('cmake', 'cmake', '--build', build) is None:
        return None
    for app in ('app', 'app_static'):
        if attempt(f'cmake, {app}', build / app, LD_LIBRARY_PATH=str(shared.parent)) is not None:
            report(f'cmake, {app}')
    return None


if __name__ == '__main__':
    main()
    sys.exit(failed)

"""The programs of parity_programs.py give on libray what they give on Ray 2.60.0.

What that is stands in parity_on_ray.json, written by `python parity_programs.py ray`. Where the environment variable
LIBRAY_PARITY_PYTHON names an interpreter with Ray, the file is compared with Ray itself, too.
"""

import json
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "parity_on_ray.json")) as file:
    EXPECTED = json.load(file)


def _run(python, module):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    if module == "ray":
        environment.pop("PYTHONPATH", None)  # which is for libray
    done = subprocess.run([python, os.path.join(HERE, "parity_programs.py"), module], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout[done.stdout.index("{"):])


@pytest.fixture(scope="module")
def on_libray():
    return _run(sys.executable, "libray")


@pytest.mark.parametrize("name", EXPECTED)
def test_libray_gives_what_ray_gives(on_libray, name):
    assert on_libray[name] == EXPECTED[name]


def test_there_is_no_other_program(on_libray):
    assert on_libray.keys() == EXPECTED.keys()


def test_ray_gives_what_was_written_down():
    python = os.environ.get("LIBRAY_PARITY_PYTHON")
    if not python:
        pytest.skip("LIBRAY_PARITY_PYTHON names no interpreter with Ray 2.60")
    found = _run(python, "ray")
    assert {name: (found.get(name), EXPECTED[name]) for name in EXPECTED if found.get(name) != EXPECTED[name]} == {}

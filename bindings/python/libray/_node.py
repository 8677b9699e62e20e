"""`python -m libray head` and `worker`: nodes that host Python."""

import argparse
import json
import os
import signal
import sys
import threading

from . import _errors, _functions, _lib, _run, _runtime, _session

_DEFAULT_ADDRESS = "127.0.0.1:6379"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COUNT_MAX = 1000000
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

_HEAD = """\
usage: python -m libray head [OPTION...]

Starts a cluster whose tasks and actors are Python's: a node that runs them like others and keeps the cluster's tables.
It serves until Ctrl-C, SIGTERM or `python -m libray stop`, and prints how others join it. ray.init() of a program on
this host joins it by itself. Unless there is a cluster key, it makes one.

    python -m libray head --address 10.0.0.1:6379 --key-file cluster-key &

  --address HOST:PORT        where to listen, at an address by which the other hosts reach this one; port 0: any
                             free one. Default: 127.0.0.1:6379, or the next port that is free
"""
_WORKER = """\
usage: python -m libray worker --address HOST:PORT|auto [OPTION...]

Joins the cluster of the head at that address (auto: the one on this host) and works for it, until Ctrl-C, SIGTERM,
`python -m libray stop` or the cluster's end. Both must be of the same version of Python.

    python -m libray worker --address 10.0.0.1:6379 --key-file cluster-key --num-cpus 4 &

  --address HOST:PORT|auto   the head; default: $RAY_ADDRESS
  --listen HOST:PORT         where other nodes reach this one; default: the host by which it reaches the head, any
                             free port
"""
_BOTH = """\
  --num-cpus N               default: what this process may use
  --num-gpus N               default: those in $CUDA_VISIBLE_DEVICES
  --resources JSON           more of what it offers: '{"disk": 2}'
  --memory BYTES             for tasks and actors, 2000000000 or 2GiB; default: the machine's
  --object-store-memory BYTES  default: 30 % of memory
  --labels NAME=VALUE,...    of this node, which tasks can ask for; or JSON: '{"NAME": "VALUE"}'
  --key-file FILE            with the cluster key; default: $RAY_KEY_FILE, $RAY_CLUSTER_KEY, that of a head
                             on this host, ~/.config/ray/cluster-key
  --address-file FILE        where to write the address that this node listens at, once it serves
  --help                     this text

Nodes of `raylaunch head` and `raylaunch worker` belong to the same clusters, but cannot run Python's functions.

Exit status: 0 it was ended as asked, or its head was, 1 it cannot start, join or go on, 2 wrong usage, 128 + N signal
N came twice, or before it was there.
"""


# ---- options ----


class _Parser(argparse.ArgumentParser):
    def __init__(self, role):
        super().__init__(prog=f"python -m libray {role}", add_help=False, allow_abbrev=False)
        self.text = (_HEAD if role == "head" else _WORKER) + _BOTH

    def format_help(self):
        return self.text

    def error(self, message):
        print(f"{self.prog}: {message}\ntry: {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def _count(text):
    if not text.isascii() or not text.isdigit() or int(text) > _COUNT_MAX:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {_COUNT_MAX}, got {text!r}")
    return int(text)


def _bytes(text):
    number = text.rstrip("KMGTiB")
    unit = text[len(number):]
    if not number.isascii() or not number.isdigit() or int(number) == 0 or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"expected bytes, 2000000000 or 2GiB, got {text!r}")
    return int(number) * _UNITS[unit]


def _resources(text):
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        _runtime._resources_text(None, None, found, None)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"""expected JSON, '{{"disk": 2}}', got {text!r}: {error}""") from None
    return found


def _labels(text):
    if text.lstrip().startswith("{"):
        try:
            return ", ".join(f"{name}={value}" for name, value in json.loads(text).items())
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    if not all(part.partition("=")[0].strip() and "=" in part for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE,NAME=VALUE, got {text!r}")
    return text


def _parse(role, arguments):
    parser = _Parser(role)
    parser.add_argument("--help", "-h", action="help")
    parser.add_argument("--num-cpus", type=_count)
    parser.add_argument("--num-gpus", type=_count)
    parser.add_argument("--resources", type=_resources)
    parser.add_argument("--labels", type=_labels)
    for name in ("--memory", "--object-store-memory"):
        parser.add_argument(name, type=_bytes)
    for name in ("--address", "--key-file", "--address-file"):
        parser.add_argument(name)
    if role == "worker":
        parser.add_argument("--listen")
    options = parser.parse_args(arguments)
    if role == "worker":
        options.address = options.address or os.environ.get("RAY_ADDRESS")
        if options.address in (None, "", "local"):
            parser.error("expected --address HOST:PORT (the head's) or --address auto, or $RAY_ADDRESS")
    return options


def _config(role, options):
    config = _runtime._config(options.address, None,
                              _runtime._resources_text(options.num_cpus, options.num_gpus, options.resources,
                                                       options.memory), options.labels, options.object_store_memory)
    config.role = _lib.ROLE_HEAD if role == "head" else _lib.ROLE_WORKER
    config.key_file = _lib.encode(options.key_file)
    config.timeline_tasks = 0 if os.environ.get("RAY_TIMELINE_TASKS") else 65536
    if role == "head":
        config.any_port = options.address is None
        config.address = (options.address or _DEFAULT_ADDRESS).encode()
    else:
        config.listen = _lib.encode(options.listen)
    return config


# ---- its end ----


class _Signals:
    """A thread that waits for what ends the node, since the main thread is in ray_serve: the first signal ends it in
    order, which takes as long as its tasks do; the next one ends the process."""

    def __init__(self, prog):
        self.prog = prog
        self.came = False
        self.wanted = {s for s in _ENDING if signal.getsignal(s) != signal.SIG_IGN}  # nohup
        signal.pthread_sigmask(signal.SIG_BLOCK, self.wanted)  # before libray has threads: they inherit it
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        number = signal.sigwait(self.wanted)
        self.came = True
        if not _lib.lib.ray_is_initialized():
            os._exit(128 + number)  # nothing runs yet
        threading.Thread(target=_lib.lib.ray_shutdown, daemon=True).start()
        print(f"{self.prog}: {signal.strsignal(number)}: it ends when its tasks have; the next signal ends it at once",
              file=sys.stderr, flush=True)
        os._exit(128 + signal.sigwait(self.wanted))


# ---- once it serves ----


def _key_file(options, session):
    """The file with the key that others need to name; None: they have the key in another way."""
    named = options.key_file or os.environ.get("RAY_KEY_FILE") or os.path.join(session, "cluster-key")
    return os.path.realpath(named) if os.access(named, os.R_OK) else None


def _tell(role, options, row, session):
    if role == "head":
        key = _key_file(options, session)
        print(f"The head serves at {row['address']}\nAnother node joins it with:\n"
              f"    python -m libray worker --address {row['address']}{f' --key-file {key}' if key else ''}")
        if key:
            print("On other hosts with a copy of that file, which only its owner may read; on this one --address auto "
                  "does.")
        print(f"Programs join it with RAY_ADDRESS={row['address']}; on this host ray.init() finds it.")
    else:
        print(f"This node serves the cluster at {_runtime.head_address()}, as {row['id']}, at {row['address']}")
    print(f"It ends with Ctrl-C, or:\n    python -m libray stop --session {session}", flush=True)


def _own_row():
    here = _lib.text(_lib.lib.ray_context_get().contents.node_id)
    row = next(row for row in _runtime.nodes() if row["NodeID"] == here)
    return {"id": here, "address": f"{row['NodeManagerAddress']}:{row['NodeManagerPort']}"}


def _write_address(file, address):
    with open(f"{file}.{os.getpid()}", "w") as out:
        print(address, file=out)
    os.replace(f"{file}.{os.getpid()}", file)  # whole when it appears


def _announce(role, options):
    """All that others wait for."""
    row, session = _own_row(), _session.of(os.getpid())
    if role == "head":
        _runtime.publish_version()
        _session.mark(session, _session.HEAD_MARK, row["address"])
    else:
        _runtime.check_version()
    _session.mark(session, _session.LAUNCHED_MARK)
    if options.address_file:
        _write_address(options.address_file, row["address"])
    _tell(role, options, row, session)


def serve(role, arguments):
    """The exit status of the command."""
    options = _parse(role, arguments)
    prog = f"python -m libray {role}"
    os.environ.pop("RAY_WORKER_OF", None)  # whoever's task has started this: it is no worker process
    signals = _Signals(prog)
    _runtime.begin_process()
    try:
        _errors.check(_lib.lib.ray_init(_config(role, options)))
        _runtime.hold()
        _announce(role, options)
        status = _lib.lib.ray_serve()
        if status < 0 and not signals.came:
            raise _errors.from_last()
        return 0
    except Exception as error:
        if signals.came:
            return 0
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    finally:
        _lib.lib.ray_shutdown()  # or waits for the one that a signal has begun

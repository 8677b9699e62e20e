"""Asking the cluster for its state: ray_state's tables and pieces."""

import ctypes
import json
from urllib.parse import quote

from ... import _errors, _lib
from .exception import RayStateApiException

ROWS_MOST = 10000
_PAGE = 2000


def fetch(query):
    """The bytes of an answer; RayStateApiException."""
    view = _lib.View()
    code = _lib.lib.ray_state(query.encode(), view)
    if code < 0:
        raise RayStateApiException(str(_errors.from_last()))
    try:
        return ctypes.string_at(view.data, view.size)
    finally:
        _lib.lib.ray_view_release(view)


def query(path, **parts):
    """A question for ray_state."""
    told = [f"{key}={quote(str(value), safe='')}" for key, value in parts.items() if value is not None]
    return f"{path}?{'&'.join(told)}" if told else path


def table(name, node_id=None):
    """(rows, how many there are, what went wrong) of a table, in libray's words."""
    answer = json.loads(fetch(query(name, limit=ROWS_MOST, node_id=node_id)))["data"]["result"]
    return answer["result"], answer["total"], answer["partial_failure_warning"]


def timeline(node_id):
    """The events that a node has on record."""
    cursor = None
    while True:
        page = json.loads(fetch(query("timeline", limit=_PAGE, node_id=node_id, cursor=cursor)))
        yield from page["events"]
        cursor = page["next"]
        if cursor is None:
            return


def log_pieces(node_id, filename):
    """The bytes of a log, as they are there: an empty piece at its end, and again when asked again."""
    offset = 0
    while True:
        piece = fetch(query("logs/file", node_id=node_id, filename=filename, offset=offset))
        offset += len(piece)
        yield piece

"""multiprocessing.Pool over a cluster: `from ray.util.multiprocessing import Pool`."""

from multiprocessing import JoinableQueue, TimeoutError

from .pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]

"""The backend "ray" of joblib."""

import sys
import weakref

from joblib._parallel_backends import (AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, PoolManagerMixin,
                                       SequentialBackend)

import libray as ray
from ..multiprocessing.pool import Pool

_SHARED_MIN = 100 << 10  # larger arguments are put into the store once, not sent with each batch


class RayBackend(PoolManagerMixin, AutoBatchingMixin, ParallelBackendBase):
    """Runs batches of calls in a Pool. ray_remote_args: options of its actors. n_jobs=-1: one for each CPU of the
    cluster."""

    supports_retrieve_callback = True
    supports_return_generator = False

    def __init__(self, nesting_level=None, inner_max_num_threads=None, ray_remote_args=None, **kwargs):
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs)
        self.ray_remote_args = ray_remote_args
        self._shared = {}  # id of an argument: (weak reference, its ref), as long as the argument lives

    def effective_n_jobs(self, n_jobs):
        if n_jobs is not None and n_jobs < 0:
            return max(1, int(ray.cluster_resources().get("CPU", 0)) + 1 + n_jobs)
        return super().effective_n_jobs(n_jobs)

    def configure(self, n_jobs=1, parallel=None, prefer=None, require=None, ray_remote_args=None, **kwargs):
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._pool = Pool(n_jobs, ray_remote_args=ray_remote_args or self.ray_remote_args)
        return n_jobs

    def submit(self, func, callback=None):
        batch = _Batch(func, self._share)
        return self._pool.apply_async(batch, callback=callback, error_callback=callback)

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out):
        if isinstance(out, BaseException):
            raise out
        return out

    def terminate(self):
        super().terminate()
        self._shared.clear()
        self.reset_batch_stats()

    def _share(self, value):
        if isinstance(value, ray.ObjectRef) or sys.getsizeof(value) < _SHARED_MIN:
            return value
        key = id(value)
        if key not in self._shared:
            try:
                life = weakref.ref(value, lambda _: self._shared.pop(key, None))
            except TypeError:
                return value  # it cannot be told when the id is another's
            self._shared[key] = (life, ray.put(value))
        return _Shared(self._shared[key][1])


class _Shared:
    """Stands for an argument that is in the store."""

    def __init__(self, ref):
        self.ref = ref


def _fetch(value):
    return ray.get(value.ref) if isinstance(value, _Shared) else value


class _Batch:
    """joblib's BatchedCalls, with large arguments by way of the store."""

    def __init__(self, calls, share):
        self._calls = calls
        calls.items = _with_arguments(calls.items, share)

    def __call__(self):
        self._calls.items = _with_arguments(self._calls.items, _fetch)
        return self._calls()


def _with_arguments(items, change):
    return [(func, [change(arg) for arg in args], {name: change(arg) for name, arg in kwargs.items()})
            for func, args, kwargs in items]

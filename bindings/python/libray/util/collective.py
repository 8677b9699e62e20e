"""`ray.util.collective`: libray has none yet. The names are there, so that a program which may use it can be loaded."""

_NAMES = ("allgather", "allgather_multigpu", "allreduce", "allreduce_multigpu", "barrier", "broadcast",
          "broadcast_multigpu", "create_collective_group", "destroy_collective_group", "get_collective_group_size",
          "get_rank", "init_collective_group", "is_group_initialized", "recv", "recv_multigpu", "reduce",
          "reduce_multigpu", "reducescatter", "reducescatter_multigpu", "send", "send_multigpu")


def _absent(name):
    def call(*args, **kwargs):
        raise NotImplementedError(f"ray.util.collective.{name} is not there yet: exchange arrays as objects (ray.put), "
                                  "which processes of one host read without a copy, or use MPI or NCCL in the actors")
    call.__name__ = call.__qualname__ = name
    return call


def nccl_available():
    return False


def gloo_available():
    return False


globals().update({name: _absent(name) for name in _NAMES})
__all__ = [*_NAMES, "gloo_available", "nccl_available"]

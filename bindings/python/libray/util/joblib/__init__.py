"""joblib over a cluster: `register_ray()`, then `with joblib.parallel_config(backend="ray"): ...`."""

__all__ = ["register_ray"]


def register_ray():
    """Registers the backend "ray" of joblib: its calls run in a `ray.util.multiprocessing.Pool`. ImportError: joblib is
    not installed."""
    try:
        from joblib.parallel import register_parallel_backend
    except ImportError as error:
        raise ImportError("register_ray() needs joblib, which cannot be imported here: pip install joblib") from error
    from .ray_backend import RayBackend
    register_parallel_backend("ray", RayBackend)

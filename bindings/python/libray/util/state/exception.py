"""What the functions of `ray.util.state` raise."""


class RayStateApiException(Exception):
    """The state of the cluster could not be had, or not all of it."""


class ServerUnavailable(RayStateApiException):
    """Nobody answers."""

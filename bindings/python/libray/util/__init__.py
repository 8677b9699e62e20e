"""What stands on tasks and actors: `ray.util`."""

from .._serialization import deregister_serializer, register_serializer
from .actor_pool import ActorPool
from .check_serialize import inspect_serializability
from .helpers import as_completed, get_node_ip_address, list_named_actors, map_unordered
from .placement_group import (get_current_placement_group, get_placement_group, placement_group, placement_group_table,
                              remove_placement_group)

__all__ = ["ActorPool", "as_completed", "deregister_serializer", "get_current_placement_group", "get_node_ip_address",
           "get_placement_group", "inspect_serializability", "list_named_actors", "map_unordered", "placement_group",
           "placement_group_table", "register_serializer", "remove_placement_group"]

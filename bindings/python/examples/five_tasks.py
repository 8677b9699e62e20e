"""Five tasks: python -m libray five_tasks.py"""

import ray

ray.init()


@ray.remote
def twice(x):
    return 2 * x


print(ray.get([twice.remote(i) for i in range(5)]))
ray.shutdown()

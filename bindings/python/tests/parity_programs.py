"""Programs that are to do the same on Ray and on libray: `python parity_programs.py ray` or `... libray` runs them all
in one runtime and prints a JSON object of what each gave. test_parity.py compares.

A program is a function that takes the module; what it returns is compared as repr. `told(f)` is what a call gives: its
value, or the names of the exception's classes. Nothing in here may depend on time, ids or paths.
"""

import asyncio
import importlib
import json
import sys
import threading

PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


def told(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return [c.__name__ for c in type(error).__mro__ if c is not object]


class Unloadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


@program
def arguments(ray):
    @ray.remote
    def f(a, b=2, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    return (ray.get(f.remote(1, c=3)), ray.get(f.remote(1, 2, 3, 4, c=5, d=6, e=7)),
            ray.get(f.remote(ray.put("a"), c=ray.put("c"), e=ray.put("e"))))


@program
def wrong_arguments(ray):
    @ray.remote
    def f(a, b=2):
        return a, b

    @ray.remote
    def nothing():
        return None

    return [told(f.remote), told(f.remote, 1, 2, 3), told(f.remote, c=1), told(f.remote, 1, a=1),
            told(nothing.remote, 1)]


@program
def wrong_arguments_of_actors(ray):
    @ray.remote
    class A:
        def __init__(self, a):
            pass

        def m(self, a, b=1):
            return a

    @ray.remote
    class Bare:
        def m(self):
            return 1

    a = A.remote(1)
    return [told(A.remote), told(A.remote, 1, 2), told(A.remote, b=1), told(Bare.remote, 1), told(a.m.remote),
            told(a.m.remote, 1, 2, 3), told(a.m.remote, 1, c=3), told(lambda: a.nothing),
            told(a.m), told(A, 1), ray.get(a.m.remote(5))]


@program
def refs_in_arguments(ray):
    @ray.remote
    def kinds(top, nested, keyword=None):
        return type(top).__name__, type(nested[0]).__name__, type(keyword).__name__, ray.get(nested[0])

    r = ray.put(1)
    return ray.get(kinds.remote(r, [r], keyword=r))


@program
def several_results(ray):
    @ray.remote(num_returns=3)
    def three():
        return 1, 2, 3

    @ray.remote(num_returns=2)
    def listed():
        return [1, 2]

    @ray.remote(num_returns=2)
    def too_many():
        return 1, 2, 3

    @ray.remote(num_returns=2)
    def no_list():
        return 1

    @ray.remote(num_returns=2)
    def fails():
        raise KeyError("x")

    @ray.remote(num_returns=0)
    def none():
        return None

    @ray.remote
    def plain():
        return 1, 2

    a, b = fails.remote()
    return [ray.get(three.remote()), ray.get(listed.remote()), told(ray.get, too_many.remote()),
            told(ray.get, no_list.remote()), told(ray.get, a), told(ray.get, b), none.remote(),
            ray.get(plain.options(num_returns=2).remote()), ray.get(plain.remote())]


@program
def results_of_generators_with_a_number(ray):
    @ray.remote(num_returns=2)
    def two():
        yield 1
        yield 2

    return ray.get(two.remote())


@program
def streams(ray):
    @ray.remote
    def count(n):
        for i in range(n):
            yield i

    @ray.remote
    def fails():
        yield 1
        raise ValueError("after one")

    @ray.remote(num_returns="streaming")
    def no_generator():
        return 1

    g = fails.remote()
    stream = count.remote(2)
    return [[ray.get(r) for r in count.remote(3)], [told(ray.get, r) for r in g], told(next, g),
            type(stream).__name__, [ray.get(next(stream)), ray.get(next(stream))], told(next, stream),
            [told(ray.get, r) for r in no_generator.remote()], told(ray.get, count.remote(1).completed()),
            [ray.get(r) for r in count.remote(0)]]


@program
def dynamic_returns(ray):
    @ray.remote(num_returns="dynamic")
    def split(n):
        for i in range(n):
            yield i

    found = ray.get(split.remote(3))
    return [ray.get(r) for r in found]


@program
def methods_that_generate(ray):
    @ray.remote
    class A:
        def some(self, n):
            for i in range(n):
                yield i

        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

        def one(self):
            return 1

    @ray.remote
    class B:
        async def some(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

        async def one(self):
            return 1

    a, b = A.remote(), B.remote()
    return [[ray.get(r) for r in a.some.remote(3)], ray.get(a.two.remote()), ray.get(a.one.remote()),
            [ray.get(r) for r in b.some.remote(3)], ray.get(b.one.remote())]


@program
def exceptions(ray):
    class Own(Exception):
        def __init__(self, code):
            super().__init__(f"code {code}")
            self.code = code

    @ray.remote
    def fails():
        raise Own(7)

    @ray.remote
    def chain():
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise KeyError("k") from error

    def caught():
        try:
            ray.get(fails.remote())
        except Own as error:
            return isinstance(error, ray.exceptions.RayTaskError), error.cause.code, type(error.cause).__name__
        return None

    return caught(), told(ray.get, fails.remote()), told(ray.get, chain.remote())


@program
def exceptions_through_tasks(ray):
    @ray.remote
    def fails():
        raise ValueError("deep")

    @ray.remote
    def passes(x):
        return x

    @ray.remote
    def gets(refs):
        return ray.get(refs[0])

    @ray.remote
    def catches(refs):
        try:
            ray.get(refs[0])
        except ValueError as error:
            return type(error).__name__
        return None

    r = fails.remote()
    return [told(ray.get, passes.remote(r)), told(ray.get, passes.remote(passes.remote(r))),
            told(ray.get, gets.remote([r])), ray.get(catches.remote([r]))]


@program
def odd_exceptions(ray):
    @ray.remote
    def raises(kind):
        if kind == "group":
            raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])
        if kind == "stop":
            raise StopIteration
        if kind == "assert":
            assert False, "no"
        if kind == "ray":
            raise ray.exceptions.WorkerCrashedError("mine")
        if kind == "unicode":
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "r")
        if kind == "os":
            raise FileNotFoundError(2, "none", "name")
        if kind == "large":
            raise ValueError("x" * 1_000_000)

    # What is RayTaskError alone, and what is of the exception's class too.
    return [(kind, told(ray.get, raises.remote(kind))[:1]) for kind in
            ("group", "stop", "assert", "ray", "unicode", "os", "large")]


@program
def retries(ray):
    @ray.remote
    class Counter:
        def __init__(self):
            self.counts = {}

        def add(self, name):
            self.counts[name] = self.counts.get(name, 0) + 1
            return self.counts[name]

    counter = Counter.remote()

    def run(name, error, until=3, **options):
        @(ray.remote(**options) if options else ray.remote)
        def tried():
            if ray.get(counter.add.remote(name)) < until:
                raise error
            return "done"

        return told(ray.get, tried.remote()), ray.get(counter.add.remote(name)) - 1

    return [run("no", ValueError("x")), run("all", ValueError("x"), retry_exceptions=True, max_retries=5),
            run("listed", ValueError("x"), retry_exceptions=[ValueError]),
            run("other", ValueError("x"), retry_exceptions=[KeyError]),
            run("sub", UnicodeError("x"), retry_exceptions=[ValueError]),
            run("zero", ValueError("x"), retry_exceptions=True, max_retries=0),
            run("one", ValueError("x"), retry_exceptions=True, max_retries=1),
            run("ever", ValueError("x"), until=7, retry_exceptions=True, max_retries=-1)]


@program
def method_retries(ray):
    @ray.remote
    class A:
        def __init__(self):
            self.n = 0

        def plain(self):
            self.n += 1
            if self.n < 3:
                raise ValueError("x")
            return self.n

        @ray.method(max_task_retries=5, retry_exceptions=True)
        def again(self):
            return self.plain()

    a, b = A.remote(), A.remote()
    c = A.remote()
    return [told(ray.get, a.plain.remote()), told(ray.get, b.again.remote()),
            told(ray.get, c.plain.options(max_task_retries=3, retry_exceptions=[ValueError]).remote()),
            told(ray.get, A.options(max_task_retries=-1).remote().plain.options(retry_exceptions=True).remote())]


@program
def bad_options(ray):
    def task(**options):
        return type(ray.remote(**options)(lambda: 1)).__name__

    class C:
        pass

    def actor(**options):
        return type(ray.remote(**options)(C)).__name__[:10]

    tasks = [{"nothing": 1}, {"num_cpus": -1}, {"num_cpus": "1"}, {"num_gpus": -0.5}, {"memory": -1},
             {"resources": {"CPU": 1}}, {"resources": {"GPU": 1}}, {"resources": {"a": -1}}, {"resources": 5},
             {"num_returns": -1}, {"num_returns": "much"}, {"num_returns": 1.5}, {"max_retries": -2},
             {"max_retries": 1.5}, {"retry_exceptions": 5}, {"retry_exceptions": [5]}, {"max_calls": -1},
             {"max_restarts": 1}, {"lifetime": "detached"}, {"scheduling_strategy": "ELSEWHERE"}, {"name": 5},
             {"num_cpus": 0}, {"max_retries": -1}, {"scheduling_strategy": "SPREAD"}, {"runtime_env": 5},
             {"num_cpus": None}, {"num_returns": None}, {"resources": {"a": 1.5}}, {"resources": {"a": 0.5}},
             {"label_selector": 5}, {"get_if_exists": True}]
    actors = [{"nothing": 1}, {"num_cpus": -1}, {"max_restarts": -2}, {"max_task_retries": -2}, {"lifetime": "long"},
              {"max_concurrency": 0}, {"max_concurrency": -1}, {"max_pending_calls": 0}, {"max_retries": 1},
              {"max_calls": 1}, {"name": ""}, {"name": 5}, {"namespace": 5}, {"namespace": ""}, {"max_restarts": "1"},
              {"retry_exceptions": True}, {"num_returns": 2}, {"concurrency_groups": {"io": 1}},
              {"max_concurrency": None}, {"get_if_exists": 5}]
    return [(o, told(task, **o)) for o in tasks], [(o, told(actor, **o)) for o in actors]


@program
def bad_options_at_the_call(ray):
    @ray.remote
    def f():
        return 1

    @ray.remote
    class C:
        def m(self):
            return 1

    c = C.remote()
    return [told(lambda: f.options(nothing=1)), told(lambda: f.options(num_cpus=-1)),
            told(lambda: C.options(nothing=1)), told(lambda: C.options(name="").remote()),
            told(lambda: C.options(lifetime="detached", name=5).remote()),
            told(lambda: C.options(get_if_exists=True).remote()),
            told(lambda: C.options(namespace="n").remote()) and None,
            told(lambda: f()), told(lambda: C()), told(lambda: c.m()), told(lambda: ray.remote(f)),
            type(ray.method(lambda: 1)).__name__]


@program
def bad_calls(ray):
    r = ray.put(1)

    @ray.remote
    def f():
        return 1

    async def coroutine():
        return 1

    @ray.remote
    class C:
        def m(self):
            return 1

    c = C.remote()
    return [told(ray.get, 1), told(ray.get, "x"), told(ray.get, [r, 1]), told(ray.get, (r,)), told(ray.get, None),
            told(ray.get, []), told(ray.get, f), told(ray.get, c),
            told(ray.put, r), told(ray.wait, r), told(ray.wait, 5), told(ray.wait, [r, r]), told(ray.wait, [1]),
            told(ray.wait, []), told(ray.wait, [r], num_returns=0), told(ray.wait, [r], num_returns=2),
            told(ray.wait, [r], timeout=-1), told(ray.wait, (r,)), told(ray.kill, 5), told(ray.kill, r),
            told(ray.cancel, 5), told(ray.cancel, c), told(ray.cancel, r), told(ray.get_actor, "absent"),
            told(ray.get_actor, ""), told(ray.get_actor, None), told(ray.remote, coroutine),
            told(ray.get, r, timeout=-1), told(ray.get, r, timeout=0), told(ray.get, [r], timeout=5),
            told(ray.init), told(ray.init, nothing=5),
            told(ray.cancel, c.m.remote(), force=True), told(ray.get, iter([r]))]


@program
def what_cannot_be_pickled(ray):
    lock = threading.Lock()

    @ray.remote
    def takes(x):
        return 1

    @ray.remote
    def gives():
        return threading.Lock()

    @ray.remote
    def closes_over():
        return lock

    @ray.remote
    class C:
        def m(self, x=None):
            return threading.Lock()

    c = C.remote()

    class Refuses:
        def __reduce__(self):
            raise ValueError("refused")

    return [told(ray.put, lock), told(takes.remote, lock), told(takes.remote, x=lock), told(ray.get, gives.remote()),
            told(closes_over.remote), told(c.m.remote, lock), told(ray.get, c.m.remote()), told(C.remote, lock),
            told(ray.put, Refuses()), told(takes.remote, Refuses()), told(ray.put, [{"a": lock}])]


@program
def what_cannot_be_unpickled(ray):
    @ray.remote
    def gives():
        return Unloadable()

    @ray.remote
    def takes(x):
        return 1

    return [told(ray.get, ray.put(Unloadable()))[:1], told(ray.get, gives.remote())[:1],
            told(ray.get, takes.remote(Unloadable()))[:1]]


@program
def waiting(ray):
    @ray.remote
    class Gate:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()
            return 1

        async def open(self):
            self.event.set()

    gate = Gate.remote()
    a, b = gate.wait.remote(), ray.put(2)
    first = ray.wait([a, b])
    none = ray.wait([a], timeout=0)
    gate.open.remote()
    both = ray.wait([a, b], num_returns=2)
    return ([r == b for r in first[0]], [r == a for r in first[1]], len(none[0]), len(none[1]),
            [both[0].index(a), both[0].index(b)], both[1], [len(x) for x in ray.wait([a, b], num_returns=1)])


@program
def timeouts(ray):
    @ray.remote
    class Never:
        async def come(self):
            await asyncio.Event().wait()

    never = Never.remote()
    return [told(ray.get, never.come.remote(), timeout=0.05),
            told(ray.get, [ray.put(1), never.come.remote()], timeout=0)]


@program
def actor_basics(ray):
    class Base:
        def __init__(self, n=1):
            self.n = n

        def who(self):
            return "base"

        def add(self, k=1):
            self.n += k
            return self.n

    @ray.remote
    class Derived(Base):
        def who(self):
            return "derived", super().who()

        @staticmethod
        def static(x):
            return x

        @classmethod
        def of_class(cls):
            return cls.__name__

        def __call__(self, x):
            return x + self.n

        def _hidden(self):
            return "hidden"

    d = Derived.remote(5)
    return [ray.get(d.who.remote()), ray.get([d.add.remote() for _ in range(3)]), ray.get(d.add.remote(k=10)),
            ray.get(d.static.remote(3)), ray.get(d.of_class.remote()), ray.get(d._hidden.remote()),
            ray.get(d.__call__.remote(1)), told(lambda: d.n),
            ray.get(d.__ray_call__.remote(lambda self, k: self.n + k, 1)),
            type(d).__name__, type(Derived).__name__.startswith("ActorClass")]


@program
def inheriting_from_an_actor_class(ray):
    @ray.remote
    class A:
        pass

    def derive():
        class B(A):
            pass
        return B

    return told(derive)


@program
def actors_that_end(ray):
    @ray.remote
    class A:
        def stop(self):
            ray.actor.exit_actor()

        def work(self):
            return 1

        def crash(self):
            import os
            os._exit(1)

    @ray.remote
    class B:
        async def stop(self):
            ray.actor.exit_actor()

        async def work(self):
            return 1

    @ray.remote
    class C:
        def __init__(self):
            raise ValueError("not today")

        def work(self):
            return 1

    def end_of(actor, call):
        first = told(ray.get, call.remote())
        return first, told(ray.get, actor.work.remote())

    def init_failed():
        try:
            ray.get(C.remote().work.remote())
        except ray.exceptions.ActorDiedError as error:
            return error.actor_init_failed, "not today" in str(error), "ValueError" in str(error)
        return None

    def killed():
        a = A.remote()
        ray.get(a.work.remote())
        ray.kill(a)
        return told(ray.get, a.work.remote())

    a, b, crash = A.remote(), B.remote(), A.remote()
    return [end_of(a, a.stop), end_of(b, b.stop), init_failed(), killed(), told(ray.get, crash.crash.remote()),
            told(ray.actor.exit_actor)]


@program
def names(ray):
    @ray.remote
    class A:
        def who(self):
            return "A"

    a = A.options(name="parity-a").remote()
    found = ray.get_actor("parity-a")
    again = A.options(name="parity-a", get_if_exists=True).remote()
    taken = told(A.options(name="parity-a").remote)
    other = A.options(name="parity-a", namespace="elsewhere").remote()
    return [ray.get(found.who.remote()), found == a, again == a, taken, ray.get(other.who.remote()), other == a,
            ray.get_actor("parity-a", namespace="elsewhere") == other, told(ray.get_actor, "parity-a", "nowhere")]


@program
def handles(ray):
    @ray.remote
    class A:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    @ray.remote
    def call(a):
        return ray.get(a.add.remote())

    @ray.remote
    def call_nested(d):
        return ray.get(d["a"][0].add.remote())

    @ray.remote
    def make():
        return A.remote()

    a = A.remote()
    kept = ray.put([a])
    return [ray.get(call.remote(a)), ray.get(call_nested.remote({"a": [a]})), ray.get(ray.get(kept)[0].add.remote()),
            ray.get(ray.get(make.remote()).add.remote()), ray.get(a.add.remote())]


@program
def concurrency(ray):
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class A:
        @ray.method(concurrency_group="io")
        async def io(self):
            return "io"

        async def plain(self):
            return "plain"

    @ray.remote(max_concurrency=3)
    class Threads:
        def __init__(self):
            self.barrier = threading.Barrier(3)

        def meet(self):
            self.barrier.wait(60)
            return "met"

    @ray.remote
    class Coroutines:
        def __init__(self):
            self.n = 0

        async def meet(self):
            self.n += 1
            while self.n < 5:
                await asyncio.sleep(0.001)
            return "met"

    a, threads, coroutines = A.remote(), Threads.remote(), Coroutines.remote()
    return [ray.get(a.io.remote()), ray.get(a.plain.options(concurrency_group="compute").remote()),
            ray.get([threads.meet.remote() for _ in range(3)]), ray.get([coroutines.meet.remote() for _ in range(5)])]


@program
def pending_calls(ray):
    @ray.remote(max_pending_calls=1)
    class A:
        async def come(self):
            await asyncio.Event().wait()

    a = A.remote()
    first = a.come.remote()
    return told(lambda: ray.get([a.come.remote() for _ in range(20)])), first is not None


@program
def awaiting(ray):
    @ray.remote
    def f(x):
        return x

    @ray.remote
    def fails():
        raise ValueError("x")

    async def main():
        one = await f.remote(1)
        two = await asyncio.gather(f.remote(2), f.remote(3))
        items = []

        @ray.remote
        def count(n):
            for i in range(n):
                yield i

        async for r in count.remote(3):
            items.append(await r)
        try:
            await fails.remote()
        except ValueError as error:
            items.append(type(error).__name__)
        return one, two, items

    return asyncio.run(main()), f.remote(5).future().result()


@program
def cancelling(ray):
    @ray.remote
    class Sleeper:
        async def sleep(self):
            await asyncio.Event().wait()

    @ray.remote
    def sleep(refs):
        ray.get(refs)

    @ray.remote
    def done():
        return 1

    sleeper = Sleeper.remote()
    never = sleeper.sleep.remote()
    waits = sleep.remote([never])
    pending = sleep.remote(never)
    finished = done.remote()
    ray.get(finished)
    for r in (waits, pending, finished):
        ray.cancel(r)
    outcome = [told(ray.get, finished)]
    ray.cancel(never)
    return outcome + ["TaskCancelledError" in told(ray.get, r) for r in (waits, pending, never)]


@program
def objects(ray):
    import numpy as np
    values = [None, True, 5, 2**100, 1.5, 1j, "text", "\ud800", b"bytes", (1, [2, {3: {4}}]),
              frozenset([1]), range(3), slice(1, 2), ..., NotImplemented, int, len, Exception("e").args]
    arrays = [np.arange(10), np.zeros((3, 0)), np.arange(6).reshape(2, 3).T, np.array("text"), np.float32(1.5),
              np.array([1, "a", None], dtype=object), np.arange(200_000)]
    back = ray.get([ray.put(a) for a in arrays])
    return ([repr(ray.get(ray.put(v))) == repr(v) for v in values],
            [np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(arrays, back)],
            [told(lambda: b.__setitem__(0, 1)) for b in back[:1] + back[-1:]], [b.flags.writeable for b in back
                                                                             if isinstance(b, np.ndarray)])


@program
def refs_of_refs(ray):
    inner = ray.put("inner")
    outer = ray.put([inner])
    deepest = ray.put({"o": outer})
    del inner, outer

    @ray.remote
    def unwraps(d):
        return ray.get(ray.get(d["o"])[0])

    @ray.remote
    def returns_a_ref():
        return ray.put("from a task")

    return ray.get(unwraps.remote(deepest)), ray.get(ray.get(returns_a_ref.remote()))


@program
def nesting(ray):
    @ray.remote
    def fib(n):
        return n if n < 2 else sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))

    @ray.remote
    def makes_an_actor():
        @ray.remote
        class A:
            def m(self):
                return "m"
        return ray.get(A.remote().m.remote())

    return ray.get(fib.remote(5)), ray.get(makes_an_actor.remote())


@program
def crashes(ray):
    @ray.remote(max_retries=0)
    def dies():
        import os
        os._exit(1)

    @ray.remote(max_retries=0)
    def leaves():
        sys.exit(0)

    return [told(ray.get, dies.remote()), told(ray.get, leaves.remote())]


@program
def inits(ray):
    """Last: it ends the runtime."""
    first = ray.is_initialized(), told(ray.init)[:1], type(ray.init(ignore_reinit_error=True)).__name__
    ray.shutdown()
    ray.shutdown()
    return first, ray.is_initialized(), told(ray.init, local_mode=True)[:1], told(ray.init, num_cpus=-1)[:1]


def main():
    ray = importlib.import_module(sys.argv[1])
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    found = {}
    for function in PROGRAMS:
        found[function.__name__] = repr(told(function, ray))
        print(function.__name__, file=sys.stderr, flush=True)
    ray.shutdown()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

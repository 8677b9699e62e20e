#!/usr/bin/env python3
"""The style checker's own tests: a small tree that is fine, and for each rule one that is not."""
import os
import tempfile
import unittest

import tidy

GOOD = {
    "meson.build": "subdir('lib')\n",
    "README.md": "# a tree\n",
    "LICENSE": "none\n",
    "lib/meson.build": "files('base/text.c', 'core/ledger.c', 'raylet/loop.c', 'transport/link.c', "
                       "'transport/session.c')\n",
    "lib/libray.map": "RAY {\n  global:\n    ray_start;\n  local: *;\n};\n",
    "lib/base/base.h": "#include <uthash.h>\n",
    "lib/base/text.c": "#include \"base/base.h\"\n#include <time.h>\n\nstatic int count;\n",
    "lib/core/core.h": "#include <stdint.h>\n",
    "lib/core/ledger.c": '#include "core/core.h"\n'
                         '#include "base/base.h" /* its door */\n\n'
                         "/* #include \"raylet/raylet.h\" and malloc(1): only words */\n"
                         'static const char *const names[] = {"time(", "static int x;"};\n'
                         "typedef struct entry {\n    int time;\n} entry;\n"
                         "static int next_of(entry *e, int (*free)(void))\n{\n    static const int one = 1;\n"
                         "    return e->time + one + names[0][0] + (free != 0);\n}\n"
                         "enum { LEDGER_ROWS = 3 };\n"
                         "int core_next(entry *e) { return next_of(e, 0); }\n",
    "lib/raylet/raylet.h": "#include \"core/core.h\"\n#include <uv.h>\n",
    "lib/raylet/loop.c": '#include "raylet/raylet.h"\n',
    "lib/transport/link.c": "#include <nng/nng.h>\n#include <sodium.h>\n",
    "lib/transport/session.c": '#include "base/base.h"\n#include "wire/wire.h"\n',
    "lib/wire/wire.h": '#include "base/base.h"\n',
    "include/ray/ray.h": "#include <stdint.h>\n\n/* Starts it. */\nRAY_API int ray_start(void);\n",
    "launcher/meson.build": "executable('raylaunch', 'main.c')\n",
    "launcher/main.c": "#include <ray/ray.h>\n",
    "tests/integration/meson.build": "foreach name : ['start']\n  executable(name, name + '.c')\nendforeach\n",
    "tests/integration/start.c": "#include <ray/ray.h>\nint main(void) { return ray_start(); }\n",
}


class Tidy(unittest.TestCase):
    def messages(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**GOOD, **changes}.items():
                if text is None:
                    continue
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return tidy.check(root)

    def expect(self, message, changes):
        """Exactly this complaint, by its beginning."""
        messages = self.messages(changes)
        self.assertEqual(len(messages), 1, messages)
        self.assertTrue(messages[0].startswith(message), messages)

    def test_good_tree(self):
        self.assertEqual(self.messages({}), [])

    def test_layers(self):
        self.expect("lib/base/text.c:1: base may not include core", {"lib/base/text.c": '#include "core/core.h"\n'})
        self.expect("lib/core/ledger.c:2: core may not include raylet",
                    {"lib/core/ledger.c": '#include "core/core.h"\n#  include  "raylet/raylet.h"\n'})
        self.expect("lib/transport/link.c:1: transport may not include store",
                    {"lib/transport/link.c": '#include "store/store.h"\n', "lib/store/store.h": "int x(void);\n"})
        self.expect("lib/raylet/loop.c:1: base/text.h: another folder is entered through base/base.h",
                    {"lib/raylet/loop.c": '#include "base/text.h"\n#include "raylet/raylet.h"\n',
                     "lib/base/text.h": "int x(void);\n"})
        self.expect("lib/cellar/junk.c:1: lib/cellar is no folder",
                    {"lib/cellar/junk.c": "int x(void);\n", "lib/cellar/meson.build": "files('junk.c')\n"})

    def test_rooms(self):
        self.expect("lib/raylet/loop.c:2: <nng/nng.h> belongs into transport",
                    {"lib/raylet/loop.c": '#include "raylet/raylet.h"\n#include <nng/nng.h>\n'})
        self.expect("lib/raylet/loop.c:2: <sodium.h> belongs into transport",
                    {"lib/raylet/loop.c": '#include "raylet/raylet.h"\n#include <sodium.h>\n'})
        self.expect("lib/base/text.c:2: <uv.h> belongs into raylet",
                    {"lib/base/text.c": '#include "base/base.h"\n#include <uv.h>\n'})
        self.expect("lib/raylet/loop.c:2: <uthash.h>",
                    {"lib/raylet/loop.c": '#include "raylet/raylet.h"\n#include <uthash.h>\n'})

    def brain(self, message, code):
        self.expect("lib/core/ledger.c:" + message, {"lib/core/ledger.c": '#include "core/core.h"\n' + code})

    def test_brains(self):
        self.brain("2: a brain does not include <pthread.h>", "#include <pthread.h>\n")
        self.brain("2: a brain does not include <stdatomic.h>", "#include <stdatomic.h>\n")
        self.brain("2: a brain does not include <time.h>", "#include <time.h>\n")
        self.brain("2: a brain does not include <sys/socket.h>", "#include <sys/socket.h>\n")
        self.brain("3: a brain does not use rayi_now_ms", "int f(void)\n{ return (int)rayi_now_ms(); }\n")
        self.brain("2: a brain does not use printf", "int f(void) { return printf(0); }\n")
        self.brain("2: a brain does not use stderr", "int f(void) { return fputs(0, stderr); }\n")
        self.brain("2: a brain does not use rand", "int f(void) { return rand(); }\n")
        self.brain("2: a brain does not use malloc", "void *f(void) { return malloc(1); }\n")
        self.brain("2: a brain does not use rayi_heap", "const void *f(void) { return rayi_heap; }\n")
        self.brain("2: a brain does not use _Atomic", "int f(_Atomic int *x);\n")
        self.brain("2: a brain does not use __atomic_load_n", "int f(int *x) { return __atomic_load_n(x, 0); }\n")

    def test_brains_among_hands(self):
        def expect(message, code):
            self.expect("lib/transport/session.c:2: " + message,
                        {"lib/transport/session.c": '#include "wire/wire.h"\n' + code})
        expect("a brain does not include <pthread.h>", "#include <pthread.h>\n")
        expect("a brain has no mutable globals", "static int count;\n")
        expect("transport may not include core", '#include "core/core.h"\n')
        self.assertEqual(self.messages({"lib/transport/link.c": "#include <pthread.h>\nstatic int count;\n"}), [])

    def test_brains_have_no_globals(self):
        self.brain("2: a brain has no mutable globals", "static int count;\n")
        self.brain("3: a brain has no mutable globals", "\nint count = 3;\n")
        self.brain("2: a brain has no mutable globals", 'static const char *name = "x";\n')
        self.brain("2: a brain has no mutable globals", "struct entry table[4];\n")
        self.brain("4: a brain has no mutable statics",
                   "int f(void)\n{\n    static int calls;\n    return ++calls;\n}\n")
        fine = "static const int limits[] = {1};\nstruct entry;\nstatic int f(void);\nextern int g;\n"
        self.assertEqual(self.messages({"lib/core/ledger.c": '#include "core/core.h"\n' + fine}), [])

    def test_what_users_see(self):
        self.expect("launcher/main.c:1: the launcher sees", {"launcher/main.c": '#include "core/core.h"\n'})
        self.expect("include/ray/ray.h:1: a public header includes",
                    {"include/ray/ray.h": "#include <uv.h>\n\n/* Starts it. */\nRAY_API int ray_start(void);\n"})
        self.expect("tests/integration/start.c:1: this is for what users see",
                    {"tests/integration/start.c": '#include "core/core.h"\n#include <ray/ray.h>\nint a(void) '
                                                  "{ return ray_start(); }\n"})

    def test_top_level(self):
        self.expect("notes.txt:1: a file that does not belong", {"notes.txt": "x\n"})
        self.expect("src:1: a folder that does not belong", {"src/README.md": "x\n"})
        self.assertEqual(self.messages({"build/x.c": "x", "build-clang/x.c": "x", ".hidden/x.c": "x"}), [])

    def test_size(self):
        self.assertEqual(self.messages({"lib/base/text.c": "int x(void);\n" * 800}), [])
        self.expect("lib/base/text.c:800: 801 lines", {"lib/base/text.c": "int x(void);\n" * 801})

    def test_use(self):
        self.expect("lib/base/more.c:1: no meson.build names it", {"lib/base/more.c": "int x(void);\n"})
        self.expect("lib/base/more.h:1: nothing includes it", {"lib/base/more.h": "int x(void);\n"})
        self.expect("tests/more.sh:1: nothing names it", {"tests/more.sh": "true\n"})
        self.expect("bindings/python/libray/_more.py:1: nothing imports it",
                    {"bindings/python/libray/_more.py": "pass\n", "bindings/python/libray/_used.py": "pass\n",
                     "bindings/python/tests/test_used.py": "from libray import _used\n"})

    def test_text(self):
        self.expect("lib/base/text.c:1: trailing blanks", {"lib/base/text.c": "int x(void); \n"})
        self.expect("lib/base/text.c:1: a tab", {"lib/base/text.c": "int\tx(void);\n"})
        self.expect("lib/base/text.c:1: 121 columns", {"lib/base/text.c": "int " + "x" * 110 + "(void);\n"})
        self.expect("lib/base/text.c:1: the last line", {"lib/base/text.c": "int x(void);"})
        self.expect("lib/base/text.c:3: empty lines", {"lib/base/text.c": "int x(void);\n\n"})
        for word in ("TO" "DO", "FIX" "ME", "XX" "X"):
            self.expect(f"lib/base/text.c:1: {word}", {"lib/base/text.c": f"/* {word}: later */\n"})

    def test_exports(self):
        more = "RAY {\n  global:\n    ray_start;\n    ray_more;\n  local: *;\n};\n"
        start = "/* Starts it. */\nRAY_API int ray_start(void);\n"
        calls = "#include <ray/ray.h>\nint main(void) { return ray_start() + ray_more(); }\n"
        self.expect("lib/libray.map:4: ray_more is exported", {"lib/libray.map": more})
        self.expect("include/ray/ray.h:4: ray_more has no comment",
                    {"lib/libray.map": more, "tests/integration/start.c": calls,
                     "include/ray/ray.h": start + "\nRAY_API int ray_more(void);\n"})
        self.expect("lib/libray.map:4: no integration test calls ray_more",
                    {"lib/libray.map": more, "include/ray/ray.h": start + "RAY_API int ray_more(void);\n"})
        self.expect("include/ray/ray.h:3: ray_more is not in lib/libray.map",
                    {"include/ray/ray.h": start + "RAY_API int ray_more(void); /* more */\n"})
        messages = self.messages({"lib/libray.map": "RAY { global: ray_*; };\n"})
        self.assertIn("lib/libray.map:1: ray_*: name each symbol", messages)


if __name__ == "__main__":
    unittest.main()

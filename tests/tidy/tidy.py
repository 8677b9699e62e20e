#!/usr/bin/env python3
"""tidy.py ROOT: what doc and design promise about the tree, checked. Prints "FILE:LINE: what is wrong" and fails.

Who may include whom, one door a folder, one room for each external library, brains that are pure, small files, no file
that nothing uses, and headers that document what the library exports. test_tidy.py has a bad tree for each rule.
"""
import os
import re
import sys

# ---- the house

FLOOR = ["core", "scheduler", "gcs", "store", "transport", "journal", "lane"]
MAY_INCLUDE = {
    "base": [],
    "process": ["base"],
    "wire": ["base"],
    "ring": ["base"],
    **{folder: ["base", "wire"] for folder in FLOOR},
    "executor": ["base", "wire", "core", "store", "lane"],  # core: doc/decisions/0002
    "isolation": ["base", "wire", "process", "ring", "executor"],
    "worker": ["base", "wire", "process", "ring", "executor"],
    "cluster": ["base", "wire", "process", "gcs", "scheduler", "transport", "store", "lane", "executor"],
    "raylet": ["base", "wire", "process", "executor", "isolation", "cluster"] + FLOOR,
    "head": ["base", "wire", "raylet"],
    "api": ["base", "wire", "lane", "raylet", "worker", "head"],
}
BRAINS = ["core", "scheduler", "gcs"]
# Brains among hands, by their beginning.
BRAIN_FILES = ["lib/transport/bulk_map.", "lib/transport/frame.", "lib/transport/session.", "lib/transport/state."]
ROOMS = {  # external headers, and the folders that may include them
    r"nng/|sodium": ["transport"],
    r"msgpack": ["wire"],
    r"uthash\.h|utlist\.h|utarray\.h|utstring\.h": ["base"],
    r"sqlite3\.h": ["journal"],
    r"xxhash\.h": ["base"],
    r"uv\.h|uv/": ["raylet", "transport", "executor", "head", "process"],
}
TOP_LEVEL = ["meson.build", "meson_options.txt", "meson.options", "lib", "include", "examples", "launcher", "bindings",
             "tests", "doc", "README.md", "LICENSE"]
FREESTANDING = ["stdbool.h", "stddef.h", "stdint.h", "stdarg.h", "limits.h", "float.h"]
BRAIN_HEADERS = FREESTANDING + ["string.h", "stdlib.h", "stdio.h", "inttypes.h", "ctype.h", "math.h", "errno.h"]
IMPURE = re.compile(  # what brains have no business with: threads, atomics, clock, I/O, chance, the process-wide heap
    r"\b(_Atomic|_Thread_local|__thread|volatile|rayi_heap|FILE|stdin|stdout|stderr)\b"
    r"|\b(__atomic_\w+|__sync_\w+|atomic_\w+|pthread_\w+|thrd_\w+|mtx_\w+"
    r"|time|clock|clock_gettime|gettimeofday|nanosleep|usleep|sleep"
    r"|socket|connect|bind|listen|accept|send|recv|poll|open|close|read|write|mmap|ioctl"
    r"|fopen|printf|vprintf|puts|putchar|perror|remove|rename"
    r"|rand|srand|random|getrandom|getenv|setenv|exit|abort|malloc|calloc|realloc|free"
    r"|rayi_now_\w+|rayi_random_\w+|rayi_log|rayi_alloc|rayi_zalloc|rayi_free|rayi_strdup)\s*\(")
MAX_LINES = 800
MAX_COLUMNS = 120
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
CODE = (".c", ".h", ".cpp", ".f90", ".py", ".sh", "meson.build")
GENERATED_LAYOUT = ["include/ray/detail.h"]  # macros whose lines are as long as they are


# ---- reading

class File:
    def __init__(self, root, path):
        self.path = path
        self.folder, self.name = os.path.split(path)
        with open(os.path.join(root, path), encoding="utf-8", newline="") as file:
            self.text = file.read()
        self.lines = self.text.split("\n")
        parts = path.split("/")
        self.module = parts[1] if parts[0] == "lib" and len(parts) > 2 else None
        self.is_c = path.endswith((".c", ".h"))

    def bare(self):
        """The text without comments, strings and characters; every line stays where it is."""
        def blank(match):
            return re.sub(r"[^\n]", " ", match.group())
        return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, self.text, flags=re.S)

    def includes(self):
        """(line, "local" or <system>, path) of each include that is not in a comment."""
        text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), self.text, flags=re.S)
        for number, line in enumerate(text.split("\n"), 1):
            match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
            if match:
                yield number, "local" if match.group(1) else "system", match.group(1) or match.group(2)


class Tree:
    def __init__(self, root):
        self.root = root
        self.top = sorted(name for name in os.listdir(root)
                          if not name.startswith(".") and not re.fullmatch(r"build(-.*)?|__pycache__", name))
        paths = []
        for folder in self.top:
            if os.path.isfile(os.path.join(root, folder)):
                paths.append(folder)
            for at, folders, names in os.walk(os.path.join(root, folder)):
                folders[:] = [name for name in folders if name != "__pycache__"]
                paths += [os.path.relpath(os.path.join(at, name), root) for name in names]
        if os.path.isfile(os.path.join(root, ".ci/run")):
            paths.append(".ci/run")
        self.files = []
        for path in sorted(paths):
            try:
                self.files.append(File(root, path))
            except UnicodeDecodeError:
                pass  # a picture

    def under(self, folder, ends=("",)):
        return [file for file in self.files if file.path.startswith(folder + "/") and file.path.endswith(tuple(ends))]


# ---- rules: each yields (file, line, message)

def check_layers(tree):
    for file in tree.under("lib", [".c", ".h"]):
        if file.module not in MAY_INCLUDE:
            yield file, 1, f"lib/{file.module} is no folder of the design"
            continue
        for line, kind, path in file.includes():
            if kind != "local":
                continue
            other = path.split("/")[0] if "/" in path else file.module
            if other == file.module:
                continue
            if other not in MAY_INCLUDE[file.module]:
                yield file, line, f"{file.module} may not include {other}"
            elif path != f"{other}/{other}.h":
                yield file, line, f"{path}: another folder is entered through {other}/{other}.h"


def check_rooms(tree):
    for file in tree.files:
        for line, kind, path in file.includes() if file.is_c else []:
            for pattern, rooms in ROOMS.items():
                if kind == "system" and re.match(pattern, path) and file.path.startswith("lib/") \
                        and file.module not in rooms:
                    yield file, line, f"<{path}> belongs into {', '.join(rooms)}"


def statements(bare):
    """(line, text) of what stands outside of braces: declarations, and definitions up to their brace."""
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group()), bare, flags=re.M | re.S)
    depth, start = 0, 0
    for at, char in enumerate(text):
        if depth == 0 and char in "{;":
            statement = text[start:at]
            yield text.count("\n", 0, at - len(statement.lstrip())) + 1, statement
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
        if char == "}" or char == ";" and depth == 0:
            start = at + 1


def is_mutable_variable(declaration):
    head = re.split(r"=", declaration)[0].strip()
    if not head or "(" in head or re.match(r"(typedef|extern|struct|union|enum|_Static_assert)\b[^=]*$", head) \
            and not re.match(r"(struct|union|enum)\s+\w+[\s*]+\w+", head):
        return False
    if len(re.findall(r"\w+", head)) < 2 or head.startswith("typedef") or head.startswith("extern"):
        return False
    after_pointer = head.rsplit("*", 1)[-1]
    return not re.search(r"\bconst\b", after_pointer)


def check_brains(tree):
    for file in tree.under("lib", [".c", ".h"]):
        if file.module not in BRAINS and not file.path.startswith(tuple(BRAIN_FILES)):
            continue
        for line, kind, path in file.includes():
            if kind == "system" and path not in BRAIN_HEADERS and not path.startswith("ray/"):
                yield file, line, f"a brain does not include <{path}>"
        bare = file.bare()
        for number, line in enumerate(bare.split("\n"), 1):
            for match in IMPURE.finditer(line):
                if line[:match.start()].rstrip().endswith(("->", ".")):
                    continue  # a member that has the name
                yield file, number, f"a brain does not use {match.group().strip(' (')}"
        for number, text in statements(bare):
            if is_mutable_variable(text):
                yield file, number, "a brain has no mutable globals"
        for match in re.finditer(r"^[ \t]+static\b([^;={(]*)[;=]", bare, flags=re.M):
            if is_mutable_variable(match.group(1)):
                yield file, bare.count("\n", 0, match.start()) + 1, "a brain has no mutable statics"


def check_launcher_and_headers(tree):
    for file in tree.under("launcher", [".c", ".h"]):
        for line, kind, path in file.includes():
            if kind == "local" and "/" in path:
                yield file, line, f"the launcher sees <ray/...> only, not {path}"
    for file in tree.under("include", [".h"]):
        for line, kind, path in file.includes():
            if not (kind == "system" and (path.startswith("ray/") or path in FREESTANDING)):
                yield file, line, f"a public header includes <ray/...> and freestanding headers only, not {path}"
    for file in tree.under("tests/integration", [".c", ".h"]) + tree.under("examples", [".c", ".h"]):
        for line, kind, path in file.includes():
            if kind == "local" and path.split("/")[0] in MAY_INCLUDE:
                yield file, line, f"this is for what users see, not {path}"


def check_top_level(tree):
    for name in tree.top:
        if name not in TOP_LEVEL:
            path = os.path.join(tree.root, name)
            yield name, 1, f"{'a file' if os.path.isfile(path) else 'a folder'} that does not belong at the top"


def check_size(tree):
    for file in tree.files:
        lines = file.text.count("\n")
        if file.path.endswith(".c") and lines > MAX_LINES:
            yield file, MAX_LINES, f"{lines} lines: at most {MAX_LINES}, it wants a second room"


# Found by their names alone: by pytest, pip and python -m.
PYTHON_FINDS = re.compile(r"(test_\w+|conftest|setup|__main__)\.py$")


def is_module_used(tree, file):
    """Does another file say its name, as `_lib` of `from . import _lib`? A package's __init__ goes by its folder."""
    name = os.path.basename(file.folder) if file.name == "__init__.py" else file.name.removesuffix(".py")
    return bool(PYTHON_FINDS.match(file.name)) or any(
        re.search(rf"\b{re.escape(name)}\b", other.text) for other in tree.files if other is not file)


def check_use(tree):
    """Each source is named in a meson.build on its way up, each header is included, each script named by another."""
    builds = {file.folder: file.text for file in tree.files if file.name == "meson.build"}
    included = {(os.path.basename(path)) for file in tree.files for _, _, path in
                (file.includes() if file.path.endswith((".c", ".h", ".cpp", ".py", ".sh")) else [])}
    for file in tree.files:
        if file.path.endswith((".c", ".cpp", ".f90")):
            folder, found = file.folder, False
            stem = file.name.rsplit(".", 1)[0]
            while True:
                text = builds.get(folder, "")
                found |= file.name in text or f"'{stem}'" in text or f"'{stem.removeprefix('test_')}'" in text
                if not folder:
                    break
                folder = os.path.dirname(folder)
            scripts = [other.text for other in tree.files if other.path.endswith((".sh", ".py"))]
            if not found and not any(file.name in text for text in scripts):
                yield file, 1, "no meson.build names it"
        elif file.path.endswith(".h"):
            if file.name not in included:
                yield file, 1, "nothing includes it"
        elif file.path.startswith("bindings/python/") and file.path.endswith(".py"):
            if not is_module_used(tree, file):
                yield file, 1, "nothing imports it"
        elif file.path.endswith((".py", ".sh")):
            if not any(file.name in other.text for other in tree.files if other is not file):
                yield file, 1, "nothing names it"


def check_text(tree):
    for file in tree.files:
        if not (file.path.endswith(CODE + (".md", ".map")) or file.path == ".ci/run"):
            continue
        for number, line in enumerate(file.lines, 1):
            if line != line.rstrip():
                yield file, number, "trailing blanks"
            if LEFTOVERS.search(line):
                yield file, number, f"{LEFTOVERS.search(line).group()}: do it, or write an issue"
            if "\t" in line:
                yield file, number, "a tab"
            if len(line) > MAX_COLUMNS and file.path.endswith(CODE) and file.path not in GENERATED_LAYOUT:
                yield file, number, f"{len(line)} columns: at most {MAX_COLUMNS}"
        if file.text and not file.text.endswith("\n"):
            yield file, len(file.lines), "the last line has no end"
        if file.text.endswith("\n\n"):
            yield file, len(file.lines), "empty lines at the end"


def paragraph_of(file, line):
    """The lines around this one up to the next empty ones."""
    first = last = line
    while first > 0 and file.lines[first - 1].strip():
        first -= 1
    while last + 1 < len(file.lines) and file.lines[last + 1].strip():
        last += 1
    return file.lines[first:last + 1]


def check_exports(tree):
    maps = tree.under("lib", [".map"])
    if not maps:
        return
    declared = {}
    for file in tree.under("include", [".h"]):
        for number, line in enumerate(file.bare().split("\n")):
            for match in re.finditer(r"\bRAY_API\b[^;]*?\b(ray_\w+)\s*\(", line):
                declared[match.group(1)] = (file, number)
    used = "\n".join(file.text for file in tree.under("tests/integration", [".c", ".h"]))
    for file in maps:
        exported = {}
        for number, line in enumerate(file.bare().split("\n"), 1):
            for name in re.findall(r"\b(ray_[\w*?]+)\s*;", line):
                exported[name] = number
        for name, number in exported.items():
            if "*" in name or "?" in name:
                yield file, number, f"{name}: name each symbol"
            elif name not in declared:
                yield file, number, f"{name} is exported, and no header declares it"
            else:
                header, line = declared[name]
                if not any("/*" in text or "*/" in text for text in paragraph_of(header, line)):
                    yield header, line + 1, f"{name} has no comment"
                if not re.search(rf"\b{name}\b", used):
                    yield file, number, f"no integration test calls {name}"
        for name, (header, line) in declared.items():
            if name not in exported:
                yield header, line + 1, f"{name} is not in {file.path}"


RULES = [check_layers, check_rooms, check_brains, check_launcher_and_headers, check_top_level, check_size, check_use,
         check_text, check_exports]


def check(root):
    """The messages, sorted."""
    tree = Tree(root)
    found = []
    for rule in RULES:
        for file, line, message in rule(tree):
            found.append((file if isinstance(file, str) else file.path, line, message))
    return [f"{path}:{line}: {message}" for path, line, message in sorted(set(found))]


def main():
    messages = check(sys.argv[1])
    print("\n".join(messages))
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())

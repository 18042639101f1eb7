"""The tools that guard the house's rules catch what they are for.

SPDX-License-Identifier: MIT
"""
import os
import shutil
import subprocess

from harness import ROOT, equal, test, true

HEAD = "/* x - y. SPDX-License-Identifier: MIT */\n"


def house(folder):
    """A small tree with the tools and the table of layers."""
    os.mkdir(folder.join("tools"))
    for name in ("tools/check_layers", "tools/check_style", "ARCHITECTURE.md"):
        shutil.copy(os.path.join(ROOT, name), folder.join(name))
    for room in ("base", "os", "store", "core", "func", "net"):
        os.makedirs(folder.join("src", room))
    for name in ("base/mem.h", "os/env.h", "store/log.h", "store/segment_int.h", "core/engine.h", "net/net.h"):
        folder.write("src/" + name, HEAD)
    subprocess.run(["git", "init", "-q"], cwd=folder.path, check=True)


def judged(folder, tool, path, text):
    """(exit code, output) of the tool with one more file in the tree."""
    folder.write(path, text)
    done = subprocess.run([folder.join("tools", tool)], capture_output=True, text=True)
    os.remove(folder.join(path))
    return done.returncode, done.stdout


@test
def check_layers_refuses_each_kind_of_wrong_include(folder):
    house(folder)
    good = HEAD + '#include "store/log.h"\n#include "base/mem.h"\n#include <stdio.h>\n'
    code, out = judged(folder, "check_layers", "src/core/a.c", good)
    equal(code, 0, out)
    for path, include in (("src/store/a.c", '"core/engine.h"'), ("src/net/a.c", '"func/lua.h"'), ("src/os/a.c", '"data/shape.h"'),
                          ("src/core/a.c", '"store/segment_int.h"'), ("src/core/a.c", "<lua.h>"), ("src/os/a.c", "<xxhash.h>"),
                          ("src/net/a.c", "<jansson.h>"), ("src/func/a.c", "<http_parser.h>"), ("src/base/a.c", '"os/env.h"'),
                          ("src/core/a.c", '"absent.h"')):
        code, out = judged(folder, "check_layers", path, HEAD + "#include %s\n" % include)
        true(code == 1 and path + ":2" in out, "%s may include %s:\n%s" % (path, include, out))
    folder.write("src/base/one.h", HEAD + '#include "base/two.h"\n')
    code, out = judged(folder, "check_layers", "src/base/two.h", HEAD + '#include "base/one.h"\n')
    true(code == 1 and "cycle" in out, out)


@test
def check_style_refuses_each_banned_call_and_names_another(folder):
    house(folder)
    good = HEAD + 'int f(struct env *env) { return env->open(env, 0, "strcpy(", 0); } /* malloc( */\n'
    code, out = judged(folder, "check_style", "src/core/a.c", good)
    equal(code, 0, out)
    for line in ("strcpy(a, b);", "sprintf(a, b);", "char *p = alloca(3);", "p = malloc(3);", "free(p);", "fd = open(p, 0);",
                 "n = time(NULL);", "n = rand();", "pthread_create(a, b, c, d);", 'printf("x");', "fflush(stdout);",
                 "typedef struct a a_t;", "fsync(3);", "p = mmap(a, 1, 2, 3, 4, 5);", "strtok(a, b);"):
        code, out = judged(folder, "check_style", "src/core/a.c", HEAD + line + "\n")
        true(code == 1 and "src/core/a.c:2" in out, "%s passes:\n%s" % (line, out))
    code, out = judged(folder, "check_style", "src/core/a.c", "int x;\n")
    true(code == 1 and "SPDX" in out, out)
    code, out = judged(folder, "check_style", "src/base/a.c", HEAD + "p = malloc(3);\n")
    equal(code, 0, out)
    code, out = judged(folder, "check_style", "notes.md", "see /%s/somebody/notes\n" % "home")
    true(code == 1 and "notes.md:1" in out, out)


@test
def install_deps_does_nothing_when_all_is_there_and_names_what_lacks(folder):
    script = os.path.join(ROOT, "tools", "install_deps")
    done = subprocess.run([script], capture_output=True, text=True)
    equal((done.returncode, done.stdout), (0, ""), done.stderr)
    equal(subprocess.run([script, "--nonsense"], capture_output=True).returncode, 64)
    # A machine with nothing but a shell: no apt-get, no compiler.
    os.mkdir(folder.join("bin"))
    for name in ("sh", "id", "uname", "cut", "grep"):
        os.symlink(shutil.which(name), folder.join("bin", name))
    done = subprocess.run([script], capture_output=True, text=True, env={"PATH": folder.join("bin")})
    equal(done.returncode, 69, done.stderr)
    true("libluajit-5.1-dev" in done.stderr and "meson" in done.stderr, done.stderr)

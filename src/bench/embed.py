#!/usr/bin/env python3
"""An application as a C string: embed.py FILE.lua NAME > FILE.c

So the installed program needs no files beside it. SPDX-License-Identifier: MIT
"""
import sys

path, name = sys.argv[1:]
print("/* Made from %s. SPDX-License-Identifier: MIT */" % path.rsplit("/", 1)[-1])
print("extern const char %s[];\nconst char %s[] =" % (name, name))
with open(path) as file:
    for line in file:
        print('    "%s\\n"' % line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"'))
print("    ;")

"""The applications and tests that docs/guide shows: they are put together from its pages and run.

SPDX-License-Identifier: MIT
"""
import os
import re

from harness import ROOT, Folder, equal, true, weir

GUIDE = os.path.join(ROOT, "docs", "guide")


def squeezed(text):
    """Without comments, blanks and line ends."""
    return re.sub(r"\s+", "", re.sub(r"--.*", "", text))


def the_examples_of_the_guide_run(budget, seed, note):
    files, shown = {}, 0
    for page in re.findall(r"\((\S+\.md)\)", open(os.path.join(GUIDE, "README.md")).read()):
        if not os.path.exists(os.path.join(GUIDE, page)) or "/" in page:
            continue
        for block in re.findall(r"```lua\n(.*?)```", open(os.path.join(GUIDE, page)).read(), re.S):
            head = block.split("\n", 1)[0]
            words = re.match(r"-- (?:(added to|from) )?(\S+\.lua)", head)
            true(words, "%s: a block says which file it is: %s" % (page, head))
            how, name = words.groups()
            if how == "from":    # each function as it is there
                with open(os.path.join(ROOT, name)) as file:
                    whole = squeezed(file.read())
                for part in block.split("\n", 1)[1].split("\n\n"):
                    true(squeezed(part) in whole, "%s shows what is not in %s: %s" % (page, name, part))
                    shown += 1
            else:
                files[name] = files.get(name, "") + block if how == "added to" else block
    tests = [name for name in files if name.endswith("_test.lua")]
    true(len(tests) >= 2 and shown >= 4, "the guide has examples")
    with Folder() as folder:
        for name in files:
            folder.write(name, files[name])
        for name in tests:
            code, out, error = weir("test", folder.join(name))
            equal(code, 0, name + ": " + out + error)
    note("%d files, %d excerpts" % (len(files), shown))

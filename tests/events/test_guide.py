"""The applications and tests that docs/guide shows: they are put together from its pages and run. What it shows of C stands in
files that other tests compile and run. What Lua is given, and docs/reference describes.

SPDX-License-Identifier: MIT
"""
import os
import re

from harness import ROOT, Folder, equal, true, weir

GUIDE = os.path.join(ROOT, "docs", "guide")
REFERENCE = os.path.join(ROOT, "docs", "reference")

# `weir` cannot be walked, so it is asked for each word that the runtime's sources have in quotes, some at a time: long
# errors are cut.
ASKING = """local weir, found = require "weir", {}
for _, name in ipairs { %s } do
  if pcall(function() return weir[name] end) then found[#found + 1] = name end
end
error("has " .. table.concat(found, " ") .. ".")
"""
WALKING = """local t, found = require "weir.test", {}
for name in pairs(t) do found[#found + 1] = name end
error("has " .. table.concat(found, " ") .. ".")
"""
AT_A_TIME = 40


def squeezed(text):
    """Without comments, blanks and line ends."""
    return re.sub(r"\s+", "", re.sub(r"--.*", "", text))


def squeezed_c(text):
    return re.sub(r"\s+", "", re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S))


def the_c_of_the_guide_stands_in_its_files(budget, seed, note):
    shown = 0
    for page in sorted(name for name in os.listdir(GUIDE) if name.endswith(".md")):
        with open(os.path.join(GUIDE, page)) as file:
            blocks = re.findall(r"```c\n(.*?)```", file.read(), re.S)
        for block in blocks:
            head, _, code = block.partition("\n")
            named = re.fullmatch(r"/\* from (\S+\.c) \*/", head)
            true(named, "%s: a block of C says which file it is from: %s" % (page, head))
            with open(os.path.join(ROOT, named[1])) as file:
                whole = squeezed_c(file.read())
            for part in code.strip().split("\n\n"):
                true(squeezed_c(part) and squeezed_c(part) in whole, "%s shows what is not in %s: %s" % (page, named[1], part))
                shown += 1
    true(shown >= 6, "the guide shows C")
    note("%d excerpts" % shown)


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


def names_told(folder, verb, name, text):
    """What a file that ends in error("has ...") tells."""
    code, out, error = weir(verb, folder.write(name, text))
    told = re.search(r"has ([a-z_ ]*)\.$", out + error, re.M)
    true(code != 0 and told, "%s of %s tells no names: %d, %s%s" % (verb, name, code, out, error))
    return told.group(1).split()


def the_reference_describes_all_of_lua(budget, seed, note):
    func = os.path.join(ROOT, "src", "func")
    words = set()
    for name in os.listdir(func):
        if name.endswith(".c"):
            words |= set(re.findall(r'"([a-z_]+)"', open(os.path.join(func, name)).read()))
    words, module = sorted(words), []
    with Folder() as folder:
        for at in range(0, len(words), AT_A_TIME):
            asked = ", ".join('"%s"' % word for word in words[at:at + AT_A_TIME])
            module += names_told(folder, "check", "names.lua", ASKING % asked)
        test = names_told(folder, "test", "names_test.lua", WALKING)
    true(len(module) >= 40 and len(test) >= 10, "names were found: %s; %s" % (module, test))
    pages = "".join(open(os.path.join(REFERENCE, name)).read() for name in os.listdir(REFERENCE))
    wanted = ["weir." + name for name in module] + ["t." + name for name in test]
    missing = [name for name in wanted if not re.search(r"(?<![\w.])%s(?!\w)" % re.escape(name), pages)]
    equal(missing, [], "functions that no page of docs/reference describes")
    note("%d names" % len(wanted))

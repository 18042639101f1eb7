#!/usr/bin/env python3
"""Plants bugs in the store, one at a time, and checks that the sweep catches each of them.

  mutants.py ROOT [--cc CC] [--seeds N] [NAME...]

A mutant is a place in src/store under `#ifdef MUTANT_store_<name>`. The controls change the code in ways that
are right, and must stay clean: a harness that fails on everything catches nothing.

SPDX-License-Identifier: MIT
"""
import argparse
import concurrent.futures
import glob
import os
import subprocess
import sys
import tempfile

# name: what is wrong. Swept with several scripts until one catches it.
MUTANTS = {
    "ack_before_sync": "an epoch is confirmed without a sync",
    "segment_dir_not_synced": "a new segment's name is not synced before the manifest names it",
    "manifest_dir_not_synced": "the manifest's new name is not synced before files go",
    "manifest_not_synced": "the manifest is renamed without its bytes being synced",
    "manifest_in_place": "the manifest is overwritten where it stands",
    "checkpoint_not_synced": "a checkpoint is named without its bytes being synced",
    "checkpoint_dir_not_synced": "a checkpoint's name is left to the manifest's own sync",
    "checksum_unchecked": "a payload is believed for its header's sake",
    "stale_record": "records of an earlier life of the file are taken",
    "tail_not_cut": "after an unclean stop the tail is used as it is",
    "delete_before_manifest": "old segments go before the manifest that does not name them",
    "retry_sync": "a sync that failed is tried again",
}
# Swept by sweep_events, which test events_sweep_* runs without any.
EVENT_MUTANTS = {
    "compacted_not_synced": "compacted events are named without their bytes being synced",
    "compacted_dir_not_synced": "a compacted file is named before its name is synced",
    "compacted_delete_early": "what was compacted goes before the manifest that does not name it",
    "compacted_walk_lost": "a reader reads on where the blocks stood before a compaction",
}
CONTROLS = {
    "": "the store as it is",
    "control_split_write": "header and payload of a record are written by two calls",
}
BASE = ["assert", "hash", "mem", "status"]
LOWER = [f"src/base/{name}.c" for name in BASE] + ["src/os/sim.c", "src/os/sim_disk.c"]
FLAGS = ["-std=gnu17", "-O1", "-g", "-w"]


def command(compiler, root, *rest):
    includes = [f"-I{os.path.join(root, name)}" for name in ("include", "src")]
    subprocess.run([*compiler, *FLAGS, *includes, *rest], check=True, cwd=root)


def build(compiler, root, folder, objects, name):
    program = os.path.join(folder, f"sweep_{name or 'clean'}")
    define = [f"-DMUTANT_store_{name}"] if name else []
    sweep = "tests/crash/sweep_events.c" if name in EVENT_MUTANTS else "tests/crash/sweep.c"
    command(compiler, root, *define, *sorted(glob.glob(os.path.join(root, "src/store/*.c"))), sweep, *objects, "-lxxhash", "-o",
            program)
    return program


def judge(program, seeds, catch):
    """(as expected?, what was seen)"""
    runs = 0
    for seed in range(1, seeds + 1):
        done = subprocess.run([program, "--seed", str(seed), "--steps", "60", "--outcomes", "7"], capture_output=True, text=True,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        runs += 1
        if done.returncode != 0:
            seen = next((line for line in done.stdout.splitlines() if line.startswith("FAIL")), f"exit {done.returncode}")
            return catch, f"caught by script {seed}: {seen}" if catch else f"script {seed}: {done.stdout}{done.stderr}"
    return not catch, f"{runs} scripts, clean"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    root = os.path.abspath(options.root)
    compiler = options.cc.split()
    text = "".join(open(path).read() for path in glob.glob(os.path.join(root, "src/store/*.c")))
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = []
        for source in LOWER:
            objects.append(os.path.join(folder, source.replace("/", "_") + ".o"))
            command(compiler, root, "-c", source, "-o", objects[-1])

        def one(name):
            if name and f"MUTANT_store_{name}\n" not in text:
                return False, "no such place in src/store"
            program = build(compiler, root, folder, objects, name)
            return judge(program, options.seeds, name not in CONTROLS)

        names = options.names or [*MUTANTS, *EVENT_MUTANTS, *CONTROLS]
        for name, (good, seen) in zip(names, pool.map(one, names)):
            passed, failed = passed + good, failed + (not good)
            what = {**MUTANTS, **EVENT_MUTANTS, **CONTROLS}.get(name, "")
            print(f"{'ok  ' if good else 'FAIL'} {name or 'clean'}: {what}\n       {seen}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

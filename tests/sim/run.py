#!/usr/bin/env python3
"""The engine in the simulated world, judged by the history checker, and planted bugs that must be found.

    run.py --build DIR [--large]

Histories: random transactions with random crashes. Sweep: a crash at every file operation of a script that
changes segments, writes checkpoints and recovers, in several outcomes, some with a second crash inside
recovery. Mutants: one source file each is compiled with a bug planted and linked before the library; a seed
must end in a failed promise, a stuck run or a history that is not strictly serializable. Controls must not.
SPDX-License-Identifier: MIT
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
passed = failed = 0


def say(good, name, detail=""):
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print("%s %s%s" % ("ok  " if good else "FAIL", name, ": " + detail if detail else ""), flush=True)


def one(program, checker, arguments, folder, name, timeout=60):
    """What is wrong with a run, or None."""
    history = os.path.join(folder, name + ".hist")
    command = [program, *map(str, arguments), "--history", history]
    try:
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        return "does not end: " + " ".join(command[1:-2])
    if run.returncode != 0:
        return (run.stderr.strip().splitlines() or run.stdout.strip().splitlines() or ["?"])[-1] + \
            "; again: sim_engine " + " ".join(command[1:-2])
    check = subprocess.run([checker, history], capture_output=True, text=True)
    os.unlink(history)
    if check.returncode != 0:
        return check.stdout.splitlines()[0] + "; again: sim_engine " + " ".join(command[1:-2])
    return None


def histories(program, checker, folder, pool, count, txns):
    jobs = [pool.submit(one, program, checker, ["--seed", s, "--txns", txns, "--crashes", 4], folder, "h%d" % s)
            for s in range(1, count + 1)]
    wrong = [j.result() for j in jobs if j.result()]
    say(not wrong, "%d seeds of %d transactions with crashes are strictly serializable" % (count, txns),
        "; ".join(wrong[:3]))
    run = subprocess.run([program, "--seed", "7", "--seeds", "5", "--twice", "--txns", "800"], capture_output=True)
    say(run.returncode == 0, "equal seeds give equal runs")


def sweep_points(program):
    run = subprocess.run([program, "--seed", "3", "--txns", "260", "--crashes", "0", "--crash-op", "1000000"],
                         capture_output=True, text=True)
    return int(re.search(r"operations (\d+)", run.stdout).group(1))


def sweep(program, checker, folder, pool, step):
    points = sweep_points(program)
    jobs = []
    for point in range(1, points + 1, step):
        for mode in range(4):
            second = [] if (point + mode) % 2 else ["--second", 1 + (point * 7 + mode) % 14]
            arguments = ["--seed", 3, "--txns", 260, "--crashes", 2, "--crash-op", point, "--mode", mode, *second]
            jobs.append(pool.submit(one, program, checker, arguments, folder, "s%d-%d" % (point, mode)))
    wrong = [j.result() for j in jobs if j.result()]
    states = len(jobs)
    jobs = [pool.submit(one, program, checker, ["--seed", s, "--txns", 400, "--crashes", 3, "--fault-op", 24 + 3 * s],
                        folder, "f%d" % s) for s in range(1, 41)]
    lost = [j.result() for j in jobs if j.result()]
    say(not lost, "40 failed syncs whose pages the kernel forgot: nothing acknowledged lost", "; ".join(lost[:3]))
    say(not wrong, "crash at every %sof %d file operations, %d crash states: nothing acknowledged lost, nothing half there"
        % ("" if step == 1 else "%dth " % step, points, states), "; ".join(wrong[:3]))


# name, what finds it; controls must stay clean
CORE = ["E1", "E2", "E3", "H3", "H6_read_epoch", "H6_error", "checkpoint_begin", "ack_before_sync", "no_wound", "no_cancel"]
STORE = ["store_ack_before_sync", "store_segment_dir_not_synced", "store_manifest_not_synced",
         "store_manifest_dir_not_synced", "store_manifest_in_place", "store_checkpoint_not_synced",
         "store_checkpoint_dir_not_synced", "store_tail_not_cut", "store_checksum_unchecked"]
CONTROLS = ["store_control_split_write"]


def mutant_build(build, folder, name):
    """Compiles the files that know the mutant and links them before the libraries."""
    sources = [p for p in glob.glob(os.path.join(ROOT, "src/*/*.c")) if "MUTANT_%s\n" % name in open(p).read()]
    if not sources:
        return None
    objects = []
    flags = ["-std=gnu17", "-O1", "-g0", "-w", "-fno-strict-aliasing", "-I" + os.path.join(ROOT, "include"),
             "-I" + os.path.join(ROOT, "src"), "-DMUTANT_" + name, '-DWEIR_VERSION="mutant"']
    for source in sources + [os.path.join(ROOT, p) for p in ("tests/sim/sim_engine.c", "tests/harness/history_app.c")]:
        out = os.path.join(folder, name + "-" + os.path.basename(source)[:-2] + ".o")
        subprocess.run(["gcc", *flags, "-c", source, "-o", out], check=True)
        objects.append(out)
    libraries = []
    for room in ("core", "store", "data", "os", "base"):
        found = [p for p in glob.glob(os.path.join(build, "src", room, "*.a"))]
        libraries += found
    program = os.path.join(folder, "mutant-" + name)
    subprocess.run(["gcc", "-o", program, *objects, "-Wl,--start-group", *libraries, "-Wl,--end-group",
                    "-lxxhash", "-ljansson", "-lpthread", "-lm"], check=True)
    return program


def mutant_hunt(build, checker, folder, name, control):
    program = mutant_build(build, folder, name)
    if program is None:
        return "there is no such mutant in the sources"
    disk = name.startswith("store_") or name.startswith("checkpoint") or name == "ack_before_sync"
    plans = [["--seed", seed, "--txns", 1200, "--crashes", 4] for seed in range(1, 6 if disk or control else 121)]
    if disk:
        plans += [["--seed", seed, "--txns", 260, "--crashes", 2, "--crash-op", point, "--mode", mode]
                  for seed in (3, 4) for point in range(2, 420, 9 if control else 1) for mode in (2, 1, 3)]
        plans += [["--seed", seed, "--txns", 400, "--crashes", 3, "--fault-op", 20 + seed * 5] for seed in range(1, 8)]
    for plan in plans:
        found = one(program, checker, plan, folder, "m-" + name, timeout=20)
        if found:
            return found
    return None


def mutants(build, checker, folder, pool):
    jobs = {name: pool.submit(mutant_hunt, build, checker, folder, name, name in CONTROLS)
            for name in CORE + STORE + CONTROLS}
    for name, job in jobs.items():
        found = job.result()
        if name in CONTROLS:
            say(found is None, "control %s stays clean" % name, found or "")
        else:
            say(found is not None, "mutant %s is caught" % name, (found or "not caught")[:110])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    program, checker = os.path.join(build, "tests/sim/sim_engine"), os.path.join(build, "tests/check/weir-check-history")
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        if "histories".startswith(options.only):
            histories(program, checker, folder, pool, 400 if options.large else 40, 3000)
        if "sweep".startswith(options.only):
            sweep(program, checker, folder, pool, 1)
        sanitized = "-asan" in build or "-tsan" in build
        if "mutants".startswith(options.only) and not sanitized:
            mutants(build, checker, folder, pool)
    print("%d passed, %d failed, %d skipped" % (passed, failed, 0))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())

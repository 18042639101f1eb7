#!/usr/bin/env python3
"""The engine in the simulated world: a swarm of seeds, a crash at every file operation, planted bugs.

    run.py --build DIR [--budget SECONDS] [--seeds N --seed S] [--only swarm|twice|sweep|mutants] [--mutant NAME] [--large]

The budget is shared out: half to the swarm, a quarter each to the sweep and to planted bugs. Without --budget it is the
share of `make test`; with --large it is what the longest run does (about an hour on two idle cores). --seeds asks for
that many seeds of the swarm and nothing else. Every failure prints the one command that runs it again. README.md here.
SPDX-License-Identifier: MIT
"""
import argparse
import concurrent.futures
import datetime
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEEDS = os.path.join(ROOT, "tests", "sim", "seeds.txt")
passed = failed = skipped = 0

# Of RELIABILITY's planted bugs, the name of the flag; then those of the protocol between shards.
MUTANTS = {
    "M1": "ack_before_sync", "M2": "store_manifest_not_synced", "M3": "store_manifest_dir_not_synced",
    "M4": "store_checkpoint_not_synced", "M5": "store_segment_dir_not_synced", "M6": "store_manifest_in_place",
    "M7": "store_delete_before_manifest", "M8": "store_checksum_unchecked", "M10": "store_tail_not_cut",
    "M11": "store_retry_sync", "M12": "store_stale_record", "M13": "dedup_not_in_checkpoint",
    "M14": "dedup_outside_txn", "M15": "timer_removed_early", "M17": "query_ignores_epoch",
    "M18": "read_locks_released", "M19": "remote_read_locks_released", "M21": "one_shard_sealed",
    "M25": "wall_clock_raw", "E1": "E1", "E2": "E2", "E3": "E3", "H3": "H3", "H6a": "H6_read_epoch", "H6b": "H6_error",
    "H9": "checkpoint_begin", "W1": "no_wound", "W2": "no_cancel", "M1s": "store_ack_before_sync",
    "M4d": "store_checkpoint_dir_not_synced", "H19": "H19", "F1": "follow_no_cursor",
    "F2": "store_events_not_synced", "A1": "ask_early", "R1": "retire_ahead", "R2": "store_events_deleted_early", "R3": "retire_by_count",
    "K1": "store_compacted_delete_early", "K2": "store_compacted_not_synced", "K3": "store_compacted_dir_not_synced",
    "K4": "store_compacted_walk_lost", "Q1": "patch_lost", "Q2": "patch_of_new_row",
    "P1": "no_death", "P2": "die_queue_by_age", "P3": "wake_lost", "P4": "no_reader_wound", "D1": "derive_no_cursor", "D2": "derive_low_lost",
    "L1": "all_no_conflict", "L2": "all_no_cancel", "L3": "all_waits_for_itself",
    "T1": "H11_abort", "T2": "H11_own_epoch", "T3": "H11_late", "T4": "H11_participant", "T5": "H11_inner",
}
CONTROLS = {"M9": "store_control_split_write", "C2": "control_checkpoint_later", "C3": "control_replies_reordered"}


def say(good, name, detail=""):
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print("%s %s%s" % ("ok  " if good else "FAIL", name, ": " + detail if detail else ""), flush=True)


def run(command, timeout):
    """(exit status, output)."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=timeout)
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        return 124, "does not end: " + " ".join(map(str, command))


def failures(output):
    lines = output.splitlines()
    return "\n".join(line for line in lines if line.startswith(("FAIL", "  again", "weir:", "assert")))[:3000]


# ---- the swarm ----

def report_read(path):
    """kind -> [(name, file or asked, count)]"""
    rows = {}
    if os.path.exists(path):
        for line in open(path):
            kind, name, place, count = line.rstrip("\n").split("\t")
            rows.setdefault(kind, []).append((name, place, int(count)))
    return rows


def report_print(rows, seconds, large):
    sums = {name: count for name, _, count in rows.get("sum", [])}
    runs = max(1, sums.get("runs", 0))
    print("     simulated: %.0f s for one of real time on each core; %.0f seeds a minute; %.0f transactions a seed, at least %d"
          % (sums["simulated_ms"] / 1000 / max(1, seconds) / (os.cpu_count() or 1), runs * 60 / max(1, seconds),
             sums["ok"] / runs, sums["least_ok"]))
    print("     faults: " + ", ".join("%s %d" % (n, c) for n, _, c in rows["fault"]))
    print("     ends of lives: " + ", ".join("%s %d" % (n, c) for n, _, c in rows["end"]))
    chances = rows.get("chance", [])
    print("     rare branches taken on purpose: %d points; never taken: %s"
          % (len(chances), ", ".join(n for n, _, c in chances if c == 0) or "none"))
    if "mark" in rows:
        marks = {}
        for name, _, count in rows["mark"]:
            marks[name] = marks.get(name, 0) + count
        unhit = sorted(n for n in marks if marks[n] == 0)
        print("     marks: %d of %d hit (%.1f %%); never: %s"
              % (len(marks) - len(unhit), len(marks), 100.0 * (len(marks) - len(unhit)) / len(marks), "; ".join(unhit) or "none"))
    silent = [n for n, _, c in rows["fault"] if c < 20]
    return silent if large else [n for n, _, c in rows["fault"] if c == 0]


def swarm(program, options, budget):
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        command = [program, "--seed", options.seed, "--seeds", options.seeds or 1000000, "--seed-file", SEEDS,
                   "--report", report, "--jobs", os.cpu_count() or 2]
        if not options.seeds:
            command += ["--budget", budget]
        begin = time.time()
        status, output = run(command, budget * 2 + 300 if not options.seeds else None)
        seconds = time.time() - begin
        rows = report_read(report)
    summary = next((line for line in output.splitlines() if line.startswith("swarm:")), "?")
    say(status == 0, summary, failures(output) if status else "")
    if not rows:
        return
    silent = report_print(rows, seconds, options.large)
    sums = {name: count for name, _, count in rows["sum"]}
    if sums["runs"] >= 100:  # fewer seeds may miss a kind of fault by chance
        say(not silent, "every kind of fault was met%s" % (" 20 times" if options.large else ""), ", ".join(silent))
        say(sums["latest"] > 0 and sums["window_rows"] > sums["window_late"] > 0, "streams were compacted, windows had results, late ones too",
            "%d seeds, %d rows, %d late" % (sums["latest"], sums["window_rows"], sums["window_late"]))
        say(sums["tails"] * 200 >= sums["multi"], "one in 200 transactions over shards was decided by that of its last call",
            "%d of %d" % (sums["tails"], sums["multi"]))
        say(sums["ok"] / sums["runs"] >= 1000, "a seed commits 1000 transactions for its clients on average",
            "%.0f" % (sums["ok"] / sums["runs"]))


def twice(program, options, count):
    status, output = run([program, "--seed", options.seed, "--seeds", count, "--twice"], 1200)
    say(status == 0, "%d seeds run twice give equal traces" % count, failures(output) if status else "")


# ---- the sweep ----

def sweep(program, options, budget):
    states, wrong, seeds, end = 0, [], 0, time.time() + budget
    target = 12000 if options.large else 0
    while seeds == 0 or time.time() < end or states < target:
        seed = 1 + seeds + (0 if options.large else datetime.date.today().toordinal() % 7)
        stride = 2 if options.large else 3  # the next script takes the operations between
        command = [program, "--sweep", "--seed", seed, "--stride", stride, "--first", 1 + seeds % stride, "--jobs", os.cpu_count() or 2]
        left = end - time.time()
        if not options.large:
            command += ["--budget", max(3, int(left))]
        status, output = run(command, 1800)
        found = re.search(r"(\d+) crash states", output)
        states += int(found.group(1)) if found else 0
        seeds += 1
        if status != 0:
            wrong.append(failures(output) or output[-400:])
            break
        if not options.large and seeds >= 3:
            break
    say(not wrong, "%d crash states of the whole engine, at file operations of %d scripts: nothing acknowledged lost, every "
        "state that of its epoch" % (states, seeds), "\n".join(wrong))


# ---- planted bugs ----

def commands(build):
    """source -> (command, object) of the simulator's program."""
    found = {}
    for entry in json.load(open(os.path.join(build, "compile_commands.json"))):
        if "sim_swarm.p/" in entry.get("output", entry["command"]):
            words = shlex.split(entry["command"])
            source = os.path.normpath(os.path.join(build, words[-1]))
            found[source] = (words, os.path.join(build, words[words.index("-o") + 1]))
    return found


def mutant_build(build, folder, name):
    """Compiles the files that know the mutant anew; the rest is linked as it is."""
    objects, known = [], False
    for source, (words, made) in commands(build).items():
        if not re.search(r"MUTANT_%s\b" % name, open(source).read()):
            objects.append(made)
            continue
        known = True
        out = os.path.join(folder, name + "-" + os.path.basename(source)[:-2] + ".o")
        words = list(words)
        words[words.index("-o") + 1] = out
        for i, word in enumerate(words):
            if word in ("-MF", "-MQ"):
                words[i + 1] = out + ".d" if word == "-MF" else out
        subprocess.run([*words[:1], "-DMUTANT_" + name, "-O1", "-w", *words[1:]], check=True, cwd=build)
        objects.append(out)
    if not known:
        return None
    program = os.path.join(folder, "mutant-" + name)
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-o", program, *objects, "-Wl,--wrap=store_write", "-Wl,--wrap=store_sync",
                    "-lxxhash", "-ljansson", "-lcurl", "-lcrypto", "-lpthread", "-lm"], check=True)
    return program


# Where a bug lives that only some scripts of the sweep reach: (seed, first operation, stride), looked at first.
HINTS = {"store_events_deleted_early": (4, 300, 3), "store_compacted_delete_early": (2, 300, 3),
         "store_compacted_not_synced": (2, 1, 3), "store_compacted_dir_not_synced": (2, 400, 1)}
# of the swarm: about 1 in 80 finds the first, 1 in 200 the second, 1 in 1,700 the third
FIRST_SEED = {"retire_ahead": 80, "H11_abort": 520, "H6_error": 2070}
RARE = {"retire_by_count": "one seed in thousands finds it, and none is known that does today: look with --mutant"}


def mutant_hunt(build, checker, folder, name, control, large):
    program = mutant_build(build, folder, name)
    if program is None:
        return "there is no such place in the sources", 0
    begin = time.time()
    swarm_plan = [program, "--seed", FIRST_SEED.get(name, 1), "--seeds", (60 if large else 12) if control else 400, "--jobs", 1, "--until-failure", "--checker", checker]
    sweeps = [[program, "--sweep", "--seed", seed, "--stride", 9 if control else 1, "--jobs", 1, "--checker", checker]
              for seed in ((1, 2) if control else (1, 2, 3, 4))]
    if not large and control:
        sweeps = sweeps[:1]
    if name in HINTS:
        seed, first, stride = HINTS[name]
        sweeps.insert(0, [program, "--sweep", "--seed", seed, "--first", first, "--stride", stride, "--jobs", 1, "--checker", checker])
    disk = name.startswith("store_") and name not in ("store_retry_sync", "store_checksum_unchecked", "store_stale_record",
                                                          "store_compacted_walk_lost")
    for plan in ([*sweeps, swarm_plan] if disk else [swarm_plan, *sweeps]):
        status, output = run(plan, 900)
        if status != 0:
            return failures(output).replace("\n", " ") or "exit %d" % status, time.time() - begin
    return None, time.time() - begin


def mutants(build, options, budget):
    names = {**MUTANTS, **CONTROLS}
    if options.mutant:
        chosen = [n for n in names if options.mutant in (n, names[n])]
    elif options.large:
        chosen = list(names)
    else:  # a part a day, and one control
        day = datetime.date.today().toordinal()
        ordered = list(MUTANTS)
        chosen = [ordered[(day * 5 + i) % len(ordered)] for i in range(5)] + [list(CONTROLS)[day % 3]]
    checker = os.path.join(build, "tests/check/weir-check-history")
    end = time.time() + budget
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        def one(name):
            if not options.large and not options.mutant and time.time() > end:
                return None
            if names[name] in RARE and not options.mutant:
                return RARE[names[name]]
            return mutant_hunt(build, checker, folder, names[name], name in CONTROLS, options.large)
        for name, result in zip(chosen, pool.map(one, chosen)):
            if result is None:
                global skipped
                skipped += 1
                print("skip %s (%s): the budget of %d s is over" % (name, names[name], budget))
                continue
            if isinstance(result, str):
                skipped += 1
                print("skip %s (%s): %s" % (name, names[name], result))
                continue
            found, seconds = result
            if name in CONTROLS:
                say(found is None, "control %s (%s) stays clean" % (name, names[name]), found or "")
            else:
                say(found is not None, "planted bug %s (%s) is caught in %.1f s" % (name, names[name], seconds), (found or "not caught")[:150])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--budget", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--mutant", default="")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    program = os.path.join(build, "tests/sim/sim_swarm")
    options.large = options.large or options.budget >= 600  # the nightly's
    budget = options.budget or (3600 if options.large else 64)
    sanitized = any(word in build for word in ("-asan", "-tsan"))
    # New seeds every day, so that the days add up; a run says where it began.
    options.seed = options.seed or 1000 * (datetime.date.today().toordinal() % 100000)
    if options.seeds:
        options.only = "swarm"
    if "swarm".startswith(options.only):
        swarm(program, options, budget / 2)
    if "twice".startswith(options.only):
        twice(program, options, 30 if options.large else 5)
    if "sweep".startswith(options.only):
        sweep(program, options, budget / 4)
    if "mutants".startswith(options.only):
        global skipped
        if sanitized:
            skipped += 1
            print("skip planted bugs: not with sanitizers")
        else:
            mutants(build, options, budget / 4)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())

# The front door to Meson and Ninja. `make` leaves build/weir.
# SPDX-License-Identifier: MIT
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
MESON_OPTIONS ?=

.PHONY: all deps demo test sim nightly check format asan tsan msan fuzz valgrind bench bench-check bench-peers bench-budgets bench-curves release install clean

all: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD)

deps:
	@tools/install_deps

$(BUILD)/build.ninja: | deps
	@meson setup $(BUILD) --prefix=$(PREFIX) $(MESON_OPTIONS)

# The main job on real data, with a kill -9 in its middle. Ends by itself.
demo: all
	@tools/demo --build $(BUILD)

# Every test; the last line is the sum.
test: all
	@tools/run_tests --build $(BUILD)

# The engine in the simulated world: make sim SEEDS=n SEED=s
SEEDS ?= 200
SEED ?= 1
sim: all
	@tests/sim/run.py --build $(BUILD) --seeds $(SEEDS) --seed $(SEED)

# The whole reliability programme within a budget; writes tests/results/DATE.md.
BUDGET ?= 90m
nightly: all
	@tools/nightly --build $(BUILD) --budget $(BUDGET)

# Layers, banned calls, format, clang-tidy, and a build with clang.
check:
	@tools/install_deps --check
	@tools/check

format:
	@tools/install_deps --check
	@clang-format -i $$(git ls-files 'src/*.[ch]' 'cli/*.[ch]' 'include/*.h' 'examples/*.c')

# The tests under the sanitizers: addresses and undefined behaviour; threads, for what has several (the simulator,
# the sweeps and the model run on one).
asan: deps
	@test -e build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined
	@ninja -C build-asan
	@tools/run_tests --build build-asan --slower 5

tsan: deps
	@test -e build-tsan/build.ninja || meson setup build-tsan -Db_sanitize=thread
	@ninja -C build-tsan
	@tools/run_tests --build build-tsan --slower 10 --suite unit
	@for runner in history redis; do tests/$$runner/run.py --build build-tsan || exit 1; done

# The decoders' fuzz targets under the memory sanitizer, which only clang has: make msan [TARGET=http] [RUNS=10]
msan: deps
	@tools/install_deps --check
	@tools/msan --build build-msan --runs $(or $(RUNS),10) $(TARGET)

# Each fuzz target under libFuzzer, built by clang with sanitizers: make fuzz [TARGET=http] [SECONDS=60]
fuzz: deps
	@tools/install_deps --check
	@tools/fuzz --build build-fuzz --seconds $(or $(SECONDS),60) $(TARGET)

# Unit tests, corpora and a simulated run under memcheck.
valgrind: deps
	@tools/install_deps --check
	@tools/valgrind --build build-valgrind

bench: all
	@bench/run --build $(BUILD)

# Weir beside Redis, PostgreSQL and others, each installed from packages: make bench-peers [PEERS="--only redis --pairs 5"]
bench-peers: all
	@bench/peers/run.py --build $(BUILD) $(PEERS)

# Does the engine do more work for a request than it did? Instructions, counted by valgrind, against bench/figures.
bench-check: all
	@tools/install_deps --check
	@bench/check --build $(BUILD)

# Every budget of the design that one machine can answer: target, floor, measured. About eight minutes.
bench-budgets: all
	@bench/budgets --build $(BUILD) $(BUDGETS)

# What a transaction costs against data size, keys, rows, calls, shards; latency against rate. About ten minutes; pictures in build/plots.
bench-curves: all
	@bench/curves --build $(BUILD) $(CURVES)

# A faster build in build-release, optimised at link time and by a profile of `weir bench`.
release: deps
	@tools/release

install: all
	@DESTDIR="$(DESTDIR)" meson install -C $(BUILD)

clean:
	@rm -rf build build-asan build-tsan build-clang build-fuzz build-msan build-valgrind build-release

# What people type. `make` alone says what there is.

CARGO ?= cargo
# Programs install themselves through sudo where the user is not root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# To build: the C library's header, libclang for the bindings, clang for the BPF program.
BUILD_PACKAGES := gcc pkg-config libnetfilter-conntrack-dev libclang-dev clang libbpf-dev
# To test: the real counterparts on this kernel.
TEST_PACKAGES := g++ conntrack nftables iptables iproute2 iputils-ping netbase netcat-openbsd tshark \
	util-linux procps kmod strace python3-jsonschema python3-pip postgresql $(DEB_TEST_PACKAGES)
# ClickHouse's embedded form, for the statements of docs/fleet. Its test is skipped where it can't be had.
CHDB := target/chdb
# promtool, out of Debian's package but not installed: that would start a server that listens. Its test is
# skipped where it can't be had.
PROMETHEUS := target/prometheus
# Installs packages that are missing, and only then asks the network for anything.
install = dpkg -s $(1) >/dev/null 2>&1 || { $(SUDO) apt-get update -q && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(1); }

.DEFAULT_GOAL := help
include debian/deb.mk

.PHONY: help run build test check unit vendor properties benches fuzz bench bench-live soak clean

help:
	@echo 'make run         build and start conntracker --track on this host (Ctrl-C prints the list)'
	@echo 'make build       build the release: target/release/conntracker'
	@echo 'make test        everything CI runs'
	@echo 'make properties  tests that make their cases up, with many new ones (PROPERTY_CASES=5000); as root'
	@echo 'make deb         build the Debian package: target/deb/*.deb'
	@echo 'make man         the manual and the shell completions: target/man/'
	@echo 'make bench       criterion benches'
	@echo 'make bench-live  floods the real program in a namespace of its own'
	@echo 'make soak        five minutes of floods and faults (SOAK_MINUTES=60 for an hour); as root'
	@echo 'Each installs what it needs with apt.'

run: build
	$(SUDO) target/release/conntracker --track

build: build-packages
	$(CARGO) build --release --locked -p conntracker --bin conntracker

# In this order even with make -j: cargo would only wait for itself.
.NOTPARALLEL:
test: check unit vendor fuzz benches

check: build-packages test-packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p conntracker --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

# The same cases each time, so that what fails was broken by a change. `make properties` looks for new ones.
unit vendor: export PROPTEST_RNG_SEED ?= 1

unit: build-packages
	$(CARGO) test --locked -p conntracker -p netfilter-conntrack -p netfilter-conntrack-sys -p conntracker-manual

# With the package, so that it is installed into a fresh root.
vendor: build-packages test-packages deb-lint man-lint
	CONNTRACKER_DEB=$(CURDIR)/$(DEB_FILE) $(CARGO) test --locked -p vendor-tests

BENCHES := decode table dump replay
PROPERTY_CASES ?= 1000
properties: build-packages test-packages
	PROPTEST_CASES=$(PROPERTY_CASES) $(CARGO) test --release --locked -p conntracker --lib -- rules:: collection::
	PROPTEST_CASES=$(PROPERTY_CASES) $(CARGO) test --release --locked -p vendor-tests --test rules --test round_trip -- \
		whatever_is_written_loads check_accepts generated_captures

# Every bench once, to see that it works and that what it computes is right: built as tests are, which takes a tenth
# of the time.
benches: build-packages
	$(CARGO) test --locked $(BENCHES:%=--bench %) --bench live -- --test

# libFuzzer's instrumentation by stable flags, as cargo fuzz sets them for its own runs on nightly.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing \
	-Cdebug-assertions -Coverflow-checks
FUZZ_SECONDS ?= 15
FUZZ_TARGETS := datagram capture reader
# Named, so that the flags do not reach build scripts.
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: build-packages test-packages
	CARGO_TARGET_DIR=target/fuzz RUSTFLAGS='$(FUZZ_FLAGS)' \
		$(CARGO) build --release --locked -p conntracker-fuzz --target $(FUZZ_HOST)
	for target in $(FUZZ_TARGETS); do mkdir -p target/fuzz/corpus/$$target && \
		target/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 \
		-verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/ \
		target/fuzz/corpus/$$target fuzz/corpus/$$target || exit 1; done

bench: build-packages
	$(CARGO) bench --locked $(BENCHES:%=--bench %)

# As root: it makes network namespaces. CONNTRACKER_REFERENCE may name the C tool.
bench-live: build-packages
	$(CARGO) bench --locked --bench live

.PHONY: build-packages test-packages
build-packages:
	@$(call install,$(BUILD_PACKAGES))

test-packages:
	@$(call install,$(TEST_PACKAGES))
	@test -d $(CHDB)/chdb || python3 -m pip install --quiet --no-deps --target $(CHDB) chdb chdb-core || \
		echo 'chdb can not be installed: the test of ClickHouse will be skipped'
	@test -x $(PROMETHEUS)/usr/bin/promtool || { mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && \
		apt-get download -q prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb; } || \
		echo 'promtool can not be had: the test of the metrics with it will be skipped'

# As root. Ends with figures, and fails if a flow was lost that the verdict does not own up to.
SOAK_MINUTES ?= 5
soak: build build-packages test-packages
	@$(call install,libfaketime)
	$(CARGO) build --release --locked -p vendor-tests --bin conntracker-soak
	$(CARGO) build --release --locked -p conntracker --bin conntracker --bin conntracker-flood
	CONNTRACKER_BIN=target/release/conntracker CONNTRACKER_FLOOD_BIN=target/release/conntracker-flood \
		target/release/conntracker-soak $(SOAK_MINUTES)

clean:
	$(CARGO) clean

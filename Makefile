# What people type. `make` alone says what there is.

CARGO ?= cargo
# Programs install themselves through sudo where the user is not root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# To build: the C library's header, libclang for the bindings, clang for the BPF program.
BUILD_PACKAGES := gcc libc6-dev pkg-config libnetfilter-conntrack-dev libclang-dev clang libbpf-dev
# Where cargo is Debian's own, its formatter and its linter are packages beside it.
CARGO_PACKAGES = $(if $(findstring /usr/bin/cargo,$(shell command -v $(CARGO))),rustfmt rust-clippy)
# To test: the real counterparts on this kernel.
TEST_PACKAGES = g++ conntrack xz-utils zstd nftables iptables ipset iproute2 iputils-ping netbase netcat-openbsd tshark mount \
	util-linux procps kmod strace python3-jsonschema python3-gi python3-dbus tzdata dnsmasq-base busybox python3-pyftpdlib python3-html5lib tmux jq $(CARGO_PACKAGES) $(DEB_TEST_PACKAGES)
# Servers and their tools, out of Debian's packages but not installed: that would start them. What a test
# needs of them and can't be had skips it.
PROMETHEUS := target/prometheus
POSTGRESQL := target/postgresql
# Programs that export flows, whose services would listen if they were installed.
EXPORTERS := target/exporters
EXPORTER_PACKAGES := ulogd2 ulogd2-json nfdump libnetfilter-log1 libnetfilter-acct1 libjansson4
# ufw and firewalld, whose packages would make them start.
UFW := target/ufw
FIREWALLD := target/firewalld
# Aerleon, which no Debian has as a package.
AERLEON := target/aerleon
# Rules of accessibility, which look at reports in a browser.
AXE := target/axe
# DuckDB and pandas, for what docs/json.md shows of them: 55 MB.
ANALYSIS := target/analysis
# ClickHouse's embedded form, for the statements of docs/fleet: 555 MB, so only with `make test FLEET=1`.
CHDB := target/chdb
# Installs packages that are missing, and only then asks the network for anything.
install = dpkg -s $(1) >/dev/null 2>&1 || { $(SUDO) apt-get update -q && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(1); }
# Warnings end a run only with the toolchain that continuous integration uses (.ci/run): another one may warn of
# what this one does not know.
FATAL := $(if $(FATAL_WARNINGS),-D warnings)

.DEFAULT_GOAL := help
include debian/deb.mk

.PHONY: help run build test check unit vendor properties benches fuzz sanitize bench bench-live soak worlds bare kernels machines install clean

help:
	@echo 'make run         build and start conntracker --track on this host (Ctrl-C prints the list)'
	@echo 'make build       build the release: target/release/conntracker'
	@echo 'make test        everything CI runs (FLEET=1: with ClickHouse, 555 MB more to download)'
	@echo 'make properties  tests that make their cases up, with many new ones (PROPERTY_CASES=5000); as root'
	@echo 'make deb         build the Debian package: target/deb/*.deb'
	@echo 'make install     what the package has, below PREFIX=/usr/local (DESTDIR=, WITHOUT_SERVICE=1)'
	@echo 'make man         the manual and the shell completions: target/man/'
	@echo 'make sanitize    what reads the records of BPF maps, under AddressSanitizer; as root'
	@echo 'make bench       criterion benches'
	@echo 'make bench-live  floods the real program in a namespace of its own'
	@echo 'make bare        make test and make run in fresh roots of Debian 12 and 13, over an hour; as root'
	@echo 'make faults      system calls and allocations fail, processes are killed, the power is cut; as root'
	@echo 'make kernels     the package on the kernels of Debian 11 to 13, in QEMU, about an hour; as root'
	@echo 'make machines    unit tests and vectors on arm64 and s390x, by emulation; as root'
	@echo 'make soak        five minutes of floods and faults (SOAK_MINUTES=60 for an hour); as root'
	@echo 'make worlds      rules of a week judged by the next one, in made-up sites (WORLD=office SEED=3 DAYS=7); as root'
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
	$(CARGO) clippy --workspace --all-targets --locked -- $(FATAL)
	$(CARGO) clippy -p conntracker --no-default-features --locked -- $(FATAL)
	$(CARGO) clippy -p netfilter-conntrack --locked -- $(FATAL)
	RUSTDOCFLAGS='$(FATAL)' $(CARGO) doc --workspace --no-deps --document-private-items --locked

# The same cases each time, so that what fails was broken by a change. `make properties` looks for new ones.
unit vendor: export PROPTEST_RNG_SEED ?= 1

unit: build-packages
	$(CARGO) test --locked -p conntracker -p conntracker-flood -p netfilter-conntrack -p netfilter-conntrack-sys -p conntracker-manual

# With the package, so that it is installed into a fresh root. TEST_FLAGS=--no-fail-fast shows all that fails.
vendor: build-packages test-packages deb-lint man-lint
	CONNTRACKER_DEB=$(CURDIR)/$(DEB_FILE) $(CARGO) test --locked -p vendor-tests $(TEST_FLAGS)

BENCHES := decode table dump replay bpf check
PROPERTY_CASES ?= 1000
MUTATION_CASES ?= 500
properties: build-packages test-packages
	PROPTEST_CASES=$(PROPERTY_CASES) $(CARGO) test --release --locked -p conntracker --lib -- rules:: captures::union::
	PROPTEST_CASES=$(PROPERTY_CASES) $(CARGO) test --release --locked -p vendor-tests --test rules --test round_trip \
		--test differential -- whatever_is_written_loads check_accepts generated_captures packets_never_contradict
	PROPTEST_CASES=$(MUTATION_CASES) $(CARGO) test --release --locked -p vendor-tests --test coverage -- dead_shadowed_and_wide
	PROPTEST_CASES=$(PROPERTY_CASES) $(CARGO) test --release --locked -p vendor-tests --test against -- edits_that_matter

# Every bench once, to see that it works and that what it computes is right: built as tests are, which takes a tenth
# of the time.
benches: build-packages
	$(CARGO) build --locked -p conntracker-flood
	$(CARGO) test --locked $(BENCHES:%=--bench %) --bench live -- --test

# libFuzzer's instrumentation by stable flags, as cargo fuzz sets them for its own runs on nightly.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing \
	-Cdebug-assertions -Coverflow-checks
FUZZ_SECONDS ?= 15
FUZZ_TARGETS := datagram capture reader lookups
# Named, so that the flags do not reach build scripts.
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: build-packages test-packages
	CARGO_TARGET_DIR=target/fuzz CARGO_PROFILE_RELEASE_LTO=off RUSTFLAGS='$(FUZZ_FLAGS)' \
		$(CARGO) build --release --locked -p conntracker-fuzz --target $(FUZZ_HOST)
	for target in $(FUZZ_TARGETS); do mkdir -p target/fuzz/corpus/$$target && \
		target/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 \
		-verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/ \
		target/fuzz/corpus/$$target fuzz/corpus/$$target || exit 1; done

# The stable compiler has AddressSanitizer, and lets nobody use it without this variable (rustc's book, unstable features).
sanitize: build-packages test-packages
	CARGO_TARGET_DIR=target/sanitize RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
		$(CARGO) test --locked --target $(FUZZ_HOST) -p vendor-tests --test kernel_records

bench: build-packages
	$(CARGO) bench --locked $(BENCHES:%=--bench %)

# As root: it makes network namespaces. CONNTRACKER_REFERENCE may name the C tool.
bench-live: build-packages
	$(CARGO) build --release --locked -p conntracker-flood
	$(CARGO) bench --locked --bench live

.PHONY: build-packages test-packages
build-packages:
	@$(call install,$(BUILD_PACKAGES))

test-packages:
	@$(call install,$(TEST_PACKAGES))
	@test -x $(PROMETHEUS)/usr/bin/promtool || { mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && \
		{ apt-get download -q promtool || apt-get download -q prometheus; } 2>/dev/null && \
		dpkg -x prom*.deb . && rm prom*.deb; } || \
		echo 'promtool can not be had: the test of the metrics with it will be skipped'
	@test -x $(EXPORTERS)/usr/bin/nfdump || { mkdir -p $(EXPORTERS) && cd $(EXPORTERS) && \
		apt-get download -q $(EXPORTER_PACKAGES) 2>/dev/null && \
		for deb in *.deb; do dpkg -x $$deb . || exit 1; done && rm *.deb; } || \
		echo 'ulogd2 and nfdump can not be had: the test of what they export will be skipped'
	@test -x $(UFW)/usr/sbin/ufw || { mkdir -p $(UFW) && cd $(UFW) && \
		apt-get download -q ufw 2>/dev/null && dpkg -x ufw*.deb . && rm ufw*.deb; } || \
		echo 'ufw can not be had: the test of rules for it will be skipped'
	@test -d $(FIREWALLD)/usr/lib/firewalld || { mkdir -p $(FIREWALLD) && cd $(FIREWALLD) && \
		apt-get download -q firewalld python3-firewall python3-nftables 2>/dev/null && \
		for deb in *.deb; do dpkg -x $$deb . || exit 1; done && rm *.deb; } || \
		echo 'firewalld can not be had: the test of rules for it will be skipped'
	@test -x $(AERLEON)/bin/aclgen || { \
		$(call install,python3-pip) && \
		python3 -m pip install --quiet --target $(AERLEON) 'aerleon<2'; } || \
		echo 'Aerleon can not be had: the test of rules for it will be skipped'
	@command -v chromium >/dev/null || { $(call install,chromium); } || \
		echo 'Chromium can not be had: the test of reports in a browser will be skipped'
	@test -d $(AXE)/axe_playwright_python || { \
		$(call install,python3-pip) && \
		python3 -m pip install --quiet --no-deps --target $(AXE) 'axe-playwright-python<0.2'; } || \
		echo 'axe can not be had: the test of how accessible reports are will be skipped'
	@test -d $(ANALYSIS)/duckdb || { \
		$(call install,python3-pip) && \
		python3 -m pip install --quiet --target $(ANALYSIS) duckdb pandas; } || \
		echo 'DuckDB and pandas can not be had: the test of what docs/json.md shows of them will be skipped'
	@test -e $(POSTGRESQL)/usr/lib/postgresql || { \
		server=$$(apt-cache depends postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$$/\1/p') && \
		mkdir -p $(POSTGRESQL)/archives/partial && $(SUDO) apt-get install -q -y --download-only \
			--reinstall --no-install-recommends -o Dir::Cache::Archives=$(CURDIR)/$(POSTGRESQL)/archives $$server && \
		for deb in $(POSTGRESQL)/archives/*.deb; do dpkg -x $$deb $(POSTGRESQL) || exit 1; done && \
		$(SUDO) rm -r $(POSTGRESQL)/archives; } || \
		echo 'PostgreSQL can not be had: the test of docs/fleet with it will be skipped'
	@test -d $(CHDB)/chdb || test -z '$(FLEET)' || { \
		$(call install,python3-pip) && \
		python3 -m pip install --quiet --no-deps --target $(CHDB) chdb chdb-core; } || \
		echo 'ClickHouse (chdb) can not be had: the test of docs/fleet with it will be skipped'
	@test -d $(CHDB)/chdb || test -n '$(FLEET)' || \
		echo 'The test of docs/fleet with ClickHouse will be skipped: make test FLEET=1 downloads it, 555 MB'

# Debian 12 and 13 as they come, with Rust by rustup in one and Debian's own in the other.
bare:
	vendor-tests/bare/bare.sh bookworm whole
	vendor-tests/bare/bare.sh trixie whole

# Debian's kernels, each booted in QEMU with the package: docs/kernels.md. KERNELS='5.10 6.1' takes some of them, and
# CHECKS='fresh_install source_kernel' some of the checks.
KERNELS ?=
KERNEL_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs python3
kernels: deb
	@$(call install,$(KERNEL_PACKAGES))
	$(CARGO) build --release --locked -p conntracker-flood --bin conntracker-flood
	python3 -u vendor-tests/kernels/kernels.py run $(DEB_FILE) target/release/conntracker-flood $(KERNELS)

# Unit tests and vectors on other machines, by emulation, in a root of Debian 13.
machines:
	vendor-tests/machines/machines.sh

# The program, its manual, completions, documents and service, for systems without a package.
PREFIX ?= /usr/local
INSTALL_PROGRAM ?= target/release/conntracker
install:
	@for built in $(INSTALL_PROGRAM) target/man/conntracker.8; do test -e $$built || { \
		echo 'make build man first, as the user whose cargo it is; then make install as root' >&2; exit 1; }; done
	install -D -m 755 $(INSTALL_PROGRAM) $(DESTDIR)$(PREFIX)/sbin/conntracker
	install -d $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/doc/conntracker/fleet
	install -m 644 target/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 README.md CHANGELOG.md docs/*.md docs/schema.json $(DESTDIR)$(PREFIX)/share/doc/conntracker
	install -m 644 docs/fleet/*.sql $(DESTDIR)$(PREFIX)/share/doc/conntracker/fleet
	install -D -m 644 target/man/conntracker.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/conntracker
	install -D -m 644 target/man/_conntracker $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_conntracker
	install -D -m 644 target/man/conntracker.fish \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/conntracker.fish
ifeq ($(WITHOUT_SERVICE),)
	test -e $(DESTDIR)/etc/conntracker/conntracker.toml || \
		install -D -m 644 debian/conntracker.toml $(DESTDIR)/etc/conntracker/conntracker.toml
	install -d $(DESTDIR)/etc/systemd/system
	sed 's#/usr/sbin/conntracker#$(PREFIX)/sbin/conntracker#' debian/conntracker.service \
		>$(DESTDIR)/etc/systemd/system/conntracker.service
endif

# As root. Ends with figures, and fails if a flow was lost that the verdict does not own up to.
SOAK_MINUTES ?= 5
SOAK_ENTRIES ?= 1000000
soak: build build-packages test-packages
	@$(call install,libfaketime)
	$(CARGO) build --release --locked -p vendor-tests --bin conntracker-soak
	$(CARGO) build --release --locked -p conntracker -p conntracker-flood --bin conntracker --bin conntracker-flood
	CONNTRACKER_BIN=target/release/conntracker CONNTRACKER_FLOOD_BIN=target/release/conntracker-flood \
		target/release/conntracker-soak $(SOAK_MINUTES)
	CONNTRACKER_ENTRIES=$(SOAK_ENTRIES) $(CARGO) test --release --locked -p vendor-tests --test kernel_records_live -- \
		--test-threads 1 nothing_is_lost every_connection_is

# As root. Ends with figures, and fails if a file was torn, a verdict wrong, or something hung. docs/reliability.md
# tells. FAULTS_EACH is how many of the same call fail at most.
FAULTS_EACH ?= 60
faults: build build-packages test-packages
	$(CARGO) build --release --locked -p vendor-tests --bin conntracker-faults
	$(CARGO) build --release --locked -p conntracker -p conntracker-flood --bin conntracker --bin conntracker-flood
	RUST_BACKTRACE=0 CONNTRACKER_BIN=target/release/conntracker CONNTRACKER_FLOOD_BIN=target/release/conntracker-flood \
		target/release/conntracker-faults $(FAULTS_EACH)

# As root. Ends with a table, and fails if rules stop more than 1 % of what is wanted, let more than 3 % of the attacks
# through, or are more than twice as many as a person would write. SEED may be a range; RULES are options of
# `conntracker rules`, or `ideal` for the rules of people who know the sites.
WORLD ?=
SEED ?= 1-20
DAYS ?= 7
RULES ?=
worlds: build build-packages test-packages
	$(CARGO) build --release --locked -p vendor-tests --bin conntracker-worlds
	CONNTRACKER_BIN=target/release/conntracker WORLD='$(WORLD)' SEED='$(SEED)' DAYS='$(DAYS)' RULES='$(RULES)' \
		target/release/conntracker-worlds

clean:
	$(CARGO) clean

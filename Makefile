# What people type. `make` alone says what there is.

CARGO ?= cargo
# Programs install themselves through sudo where the user is not root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# To build: the C library's header, libclang for the bindings.
BUILD_PACKAGES := gcc pkg-config libnetfilter-conntrack-dev libclang-dev
# To test: the real counterparts on this kernel.
TEST_PACKAGES := conntrack nftables iproute2 iputils-ping netcat-openbsd tshark util-linux procps kmod
# Installs packages that are missing, and only then asks the network for anything.
install = dpkg -s $(1) >/dev/null 2>&1 || { $(SUDO) apt-get update -q && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(1); }

.PHONY: help run build test check unit vendor benches fuzz bench bench-live clean

help:
	@echo 'make run         build and start conntracker --track on this host (Ctrl-C prints the list)'
	@echo 'make build       build the release: target/release/conntracker'
	@echo 'make test        everything CI runs'
	@echo 'make bench       criterion benches'
	@echo 'make bench-live  floods the real program in a namespace of its own'
	@echo 'Each installs what it needs with apt.'

run: build
	$(SUDO) target/release/conntracker --track

build: build-packages
	$(CARGO) build --release --locked --bins

test: check unit vendor benches

check: build-packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

unit: build-packages
	$(CARGO) test --locked -p conntracker -p netfilter-conntrack -p netfilter-conntrack-sys

vendor: build-packages test-packages
	$(CARGO) test --locked -p vendor-tests

# Every bench once, to see that it works and that what it computes is right.
benches: build-packages
	$(CARGO) bench --locked --benches -- --test

bench: build-packages
	$(CARGO) bench --locked --benches

.PHONY: build-packages test-packages
build-packages:
	@$(call install,$(BUILD_PACKAGES))

test-packages:
	@$(call install,$(TEST_PACKAGES))

clean:
	$(CARGO) clean

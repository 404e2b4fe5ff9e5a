# Package, manual and the tests of both. Included by the Makefile, which defines
# SUDO (empty for root).

# What it takes to build the package beside the build dependencies in
# debian/control, and to look at the result.
DEB_PACKAGES = dpkg-dev lintian mandoc man-db binutils $(CROSS:%=crossbuild-essential-%)
# What the tests of package, service and manual take. systemd is there for
# systemd-analyze; nothing starts it.
DEB_TEST_PACKAGES = gcc iproute2 iputils-ping libseccomp-dev mmdebstrap mount netcat-openbsd \
	pkgconf procps systemd util-linux ca-certificates

DEB_VERSION = $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
DEB_SOURCE = target/deb/conntracker-$(DEB_VERSION)
# `make deb ARCH=arm64` builds for another machine.
ARCH ?= $(shell dpkg --print-architecture)
DEB_ARCH = $(ARCH)
# What that takes beside: its cross compiler and libraries, and Rust's library for it.
CROSS = $(filter-out $(shell dpkg --print-architecture),$(ARCH))
DEB_FILE = target/deb/conntracker_$(DEB_VERSION)_$(DEB_ARCH).deb

# Debian 12 has cargo 0.66, too old for this. The profile leaves cargo and rustc
# out of the build dependencies; those in PATH, rustup's, are used.
DEB_PROFILE = pkg.conntracker.rustup

.PHONY: deb deb-packages deb-lint man man-lint test-package

# Whatever is missing. apt is asked only then, so that a machine that has
# everything needs neither root nor a network.
deb-packages:
	@command -v cargo >/dev/null || { echo 'cargo is not in PATH: install rustup' >&2; exit 1; }
	@test -z '$(CROSS)' || dpkg --print-foreign-architectures | grep -qx '$(CROSS)' || \
		$(SUDO) dpkg --add-architecture $(CROSS)
	@dpkg-query -W $(DEB_PACKAGES) >/dev/null 2>&1 || { \
		$(SUDO) apt-get update && \
		$(SUDO) apt-get install -y --no-install-recommends $(DEB_PACKAGES); }
	@dpkg-checkbuilddeps -a $(ARCH) -P $(DEB_PROFILE) 2>/dev/null || { \
		$(SUDO) apt-get update && \
		$(SUDO) apt-get build-dep -y --no-install-recommends -a $(ARCH) -P $(DEB_PROFILE) ./; }
	@test -z '$(CROSS)' || { target=$$(dpkg-architecture -a $(ARCH) -q DEB_HOST_GNU_CPU)-unknown-linux-gnu && \
		test -n "$$(ls $$(rustc --print target-libdir --target $$target)/libstd-*.rlib 2>/dev/null)"; } || { \
		echo "Rust's library for $(ARCH) is missing: rustup target add, or of Debian's Rust libstd-rust-dev:$(ARCH)" >&2; \
		exit 1; }

# In a copy, since dpkg-buildpackage writes into the folder above the source.
deb: deb-packages
	rm -rf target/deb
	mkdir -p $(DEB_SOURCE)
	tar -c --exclude=./target --exclude=./.git . | tar -x -C $(DEB_SOURCE)
	cd $(DEB_SOURCE) && CARGO_TARGET_DIR=$(CURDIR)/target/deb-build \
		dpkg-buildpackage $(CROSS:%=--host-arch=%) --build=binary --no-sign --build-profiles=$(DEB_PROFILE)
	rm -rf $(DEB_SOURCE)
	@ls -l target/deb/*.deb

# An error or a warning fails; what lintian merely notes is shown.
deb-lint: deb
	lintian --allow-root --display-info --pedantic --fail-on error,warning target/deb/*.changes

man: deb-packages
	cargo run --locked --package conntracker-manual -- target/man

man-lint: man
	mandoc -T lint target/man/*.8
	test -z "$$(for page in target/man/*.8; do \
		LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z $$page 2>&1 >/dev/null; done)"

# They need root for network namespaces and a root of their own.
test-package: deb-lint man-lint
	@dpkg-query -W $(DEB_TEST_PACKAGES) >/dev/null 2>&1 || { \
		$(SUDO) apt-get update && \
		$(SUDO) apt-get install -y --no-install-recommends $(DEB_TEST_PACKAGES); }
	cargo build --locked --bin conntracker
	CONNTRACKER_DEB=$(CURDIR)/$(DEB_FILE) cargo test --locked --package vendor-tests \
		--test daemon --test manual --test service --test package -- --nocapture

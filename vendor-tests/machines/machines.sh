#!/bin/bash
# Builds for other machines, and runs unit tests and vectors there by qemu-user: in a root of Debian 13, whose Rust
# has libraries for them as packages.
#
#   machines.sh [WHAT...]     arm64, s390x (big-endian), and package (for arm64); all three if none is named
#
# As root. The root is kept in MACHINES_FOLDER (default target/machines), about 6 GB.
set -euo pipefail
machines=${*:-arm64 s390x package}
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${MACHINES_FOLDER:-target/machines}")
root=$folder/root
mkdir -p "$folder"
if [ "$(id -u)" != 0 ]; then echo "machines.sh: run as root: it makes a root of its own" >&2; exit 1; fi
command -v mmdebstrap >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends mmdebstrap; }
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
	/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | grep -m 1 . || true)
if [ ! -e "$root/x/made" ]; then
	rm -rf --one-file-system "$root"
	if [ -z "$mirror" ]; then echo "machines.sh: no source of packages is set up in /etc/apt" >&2; exit 1; fi
	echo "deb $mirror trixie main" >"$folder/list"
	packages=make,git,ca-certificates,cargo,rustc,gcc,libc6-dev,clang,libclang-dev,libbpf-dev,pkgconf,python3
	packages=$packages,libnetfilter-conntrack-dev,dpkg-dev,debhelper,fakeroot,qemu-user
	packages=$packages,gcc-aarch64-linux-gnu,libc6-dev-arm64-cross,gcc-s390x-linux-gnu,libc6-dev-s390x-cross,crossbuild-essential-arm64
	mmdebstrap --quiet --variant=apt --architectures=amd64,arm64,s390x --include=$packages \
		--skip=cleanup/apt/lists --keyring=/usr/share/keyrings/debian-archive-keyring.gpg trixie "$root" "$folder/list"
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
	# Rust's and the C library's own of each machine, unpacked beside the cross compiler's: as packages they would
	# want that machine's libc, which is not on every mirror.
	chroot "$root" sh -euc 'for machine in arm64 s390x; do
		mkdir -p /x/$machine; cd /x/$machine
		apt-get download -q libstd-rust-dev:$machine libstd-rust-1.85:$machine libnetfilter-conntrack-dev:$machine \
			libnetfilter-conntrack3:$machine libmnl0:$machine libmnl-dev:$machine \
			libnfnetlink0:$machine libnfnetlink-dev:$machine
		for deb in *.deb; do dpkg -x $deb .; done
		cp -rs /x/$machine/usr/lib/rustlib/*-unknown-linux-gnu /usr/lib/rustlib/
	done'
	touch "$root/x/made"
fi
rm -rf "$root/root/conntracker"
git clone --quiet --no-hardlinks . "$root/root/conntracker"
cargo=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$root/root/.cargo/registry" "$cargo/registry" "$root/root/target"
[ ! -e "$cargo/config.toml" ] || cp "$cargo/config.toml" "$root/root/.cargo/"

# Tests that make their cases up make fewer: by emulation each takes ten times as long.
inside() { # MACHINE COMMAND
	local debian=$1 gnu rust qemu
	case $debian in
	arm64) gnu=aarch64-linux-gnu rust=aarch64-unknown-linux-gnu qemu=qemu-aarch64 ;;
	s390x) gnu=s390x-linux-gnu rust=s390x-unknown-linux-gnu qemu=qemu-s390x ;;
	*) echo "machines.sh: arm64 and s390x are known, not $debian" >&2; exit 2 ;;
	esac
	local name=${rust^^}; name=${name//-/_}
	unshare --mount --propagation private sh -euc "
		mount --bind '$cargo/registry' '$root/root/.cargo/registry'
		mount --rbind /dev '$root/dev'; mount -t proc proc '$root/proc'; mount -t sysfs sys '$root/sys'
		exec chroot '$root' env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 CARGO_TERM_COLOR=never PROPTEST_RNG_SEED=1 PROPTEST_CASES=32 \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_TARGET_DIR=/root/target \
			MACHINE=$debian TARGET=$rust QEMU='$qemu -E LD_LIBRARY_PATH=/usr/$gnu/lib:/x/$debian/usr/lib/$gnu' \
			sh -euc '
			cd /root/conntracker
			# Not by -L of qemu, which takes the root folder itself for one of the other machine.
			for loader in /usr/$gnu/lib/ld*.so.*; do test -e /usr/lib/\${loader##*/} || ln -s \$loader /usr/lib/; done
			cross() {
				PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_LIBDIR_${rust//-/_}=/x/$debian/usr/lib/$gnu/pkgconfig PKG_CONFIG_SYSROOT_DIR_${rust//-/_}=/x/$debian \
				BINDGEN_EXTRA_CLANG_ARGS=\"--target=$gnu -isystem /usr/$gnu/include\" \
				CARGO_TARGET_${name}_LINKER=$gnu-gcc CARGO_TARGET_${name}_RUNNER=\"\$QEMU\" \
				CARGO_TARGET_${name}_RUSTFLAGS=\"-L /x/$debian/usr/lib/$gnu -C link-arg=-Wl,-rpath-link,/x/$debian/usr/lib/$gnu\" \
				\"\$@\"
			}
			$2'"
}
step() { # MACHINE WHAT COMMAND
	local began=$SECONDS
	echo "-- $1: $2"
	inside "$1" "$3" </dev/null || { echo "machines.sh: $1: failed: $2" >&2; exit 1; }
	echo "-- $1: $2: $((SECONDS - began)) s"
}
for machine in $machines; do
	if [ $machine = package ]; then
		step arm64 'make deb ARCH=arm64' 'apt-get install -y -q --no-install-recommends libnetfilter-conntrack-dev:arm64 libstd-rust-dev:arm64 lintian mandoc man-db
			unset CARGO_TARGET_DIR; make deb ARCH=arm64; dpkg-deb -f target/deb/conntracker_*_arm64.deb Architecture Depends'
		continue
	fi
	step $machine 'cargo check' 'cross cargo check --locked --target $TARGET -p conntracker'
	step $machine 'unit tests' 'cross cargo test --locked --target $TARGET -p conntracker --lib'
	# The tests run here, the program there. The vectors are recordings of little-endian machines, so that on s390x each
	# of them shows besides that recordings of the other byte order are read.
	step $machine 'vectors' 'cross cargo build --locked --target $TARGET -p conntracker --bin conntracker
		printf "#!/bin/sh\nexec $QEMU /root/target/$TARGET/debug/conntracker \"\$@\"\n" >/x/conntracker
		chmod 755 /x/conntracker
		/x/conntracker --version
		CONNTRACKER_BIN=/x/conntracker cargo test --locked -p vendor-tests --test vectors'
done
echo "machines: as it should be"

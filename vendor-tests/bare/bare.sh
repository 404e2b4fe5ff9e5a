#!/bin/bash
# Builds and tests a fresh clone in a fresh root of Debian, as somebody does who has just installed it.
#
#   bare.sh SUITE quick    what CI does: the packages alone (bookworm); build, package, unit tests, BPF (others)
#   bare.sh SUITE whole    make test and make run
#
# As root. bookworm has Rust by rustup, bound from this user's; later releases have Debian's own. Packages come
# from where this machine has its own. BARE_FOLDER (default target/bare) takes the root, about 8 GB when whole.
set -euo pipefail
suite=$1 extent=$2
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${BARE_FOLDER:-target/bare}")
root=$folder/$suite
mkdir -p "$folder"
if [ "$(id -u)" != 0 ]; then echo "bare.sh: run as root: it makes a root of its own" >&2; exit 1; fi
command -v mmdebstrap >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends mmdebstrap; }

# Where this machine has its packages, with the release exchanged.
sources=$folder/$suite.list
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
	/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | grep -m 1 . || true)
if [ -z "$mirror" ]; then echo "bare.sh: no source of packages is set up in /etc/apt" >&2; exit 1; fi
echo "deb $mirror $suite main" >"$sources"
echo "== $suite, $extent (this machine: $codename)"
rm -rf --one-file-system "$root"
packages=make,git,ca-certificates
[ "$suite" = bookworm ] || packages=$packages,cargo,rustc
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mmdebstrap --quiet --variant=apt --include=$packages --skip=cleanup/apt/lists \
	${keyring:+--keyring=$keyring} "$suite" "$root" "$sources"
# Where a mirror's certificate is this machine's own.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

# A home that nobody else reads, and a clone without anything beside it.
chmod 700 "$root/root"
git clone --quiet --no-hardlinks . "$root/root/conntracker"
cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
mkdir -p "$root/root/.cargo/registry" "$root/root/.rustup" "$root/old"
[ ! -e "$cargo/config.toml" ] || cp "$cargo/config.toml" "$root/root/.cargo/"
binds="mount --rbind /dev '$root/dev'
	mkdir -p '$cargo/registry'; mount --bind '$cargo/registry' '$root/root/.cargo/registry'"
if [ "$suite" = bookworm ]; then
	mkdir -p "$root/root/.cargo/bin"
	binds="$binds
	mount --bind '$cargo/bin' '$root/root/.cargo/bin'
	mount --bind '$rustup' '$root/root/.rustup'"
fi

# A mount and process namespace of its own; not chroot, in which no user namespace can be made.
inside() {
	unshare --mount --pid --fork --kill-child --propagation private sh -euc "
		mount --bind '$root' '$root'
		$binds
		mount -t sysfs sys '$root/sys'
		mount -t tmpfs run '$root/run'
		mount -t tmpfs tmp '$root/tmp'
		mount -t proc proc '$root/proc'
		cd '$root'
		pivot_root . old
		chroot /old umount -n -l /
		cd /root/conntracker
		exec env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive CARGO_TERM_COLOR=never \
			CARGO_INCREMENTAL=0 PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			${RUSTUP_TOOLCHAIN:+RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN} \
			${http_proxy:+http_proxy=$http_proxy} ${https_proxy:+https_proxy=$https_proxy} \
			sh -euc '$1'"
}
step() {
	local began=$SECONDS
	echo "-- $suite: $1"
	inside "$1" </dev/null || { echo "bare.sh: $suite: failed: $1" >&2; exit 1; }
	echo "-- $suite: $1: $((SECONDS - began)) s"
}

if [ "$extent" = quick ]; then
	step "make build-packages test-packages deb-packages"
	if [ "$suite" != bookworm ]; then
		# Whether it builds is the question, not how fast it is then.
		fast="CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16"
		step "$fast make build"
		step "$fast make deb"
		step "make unit"
		step "cargo test --locked -p vendor-tests --test kernel"
	fi
else
	step "make test TEST_FLAGS=--no-fail-fast"
	# As long as it takes to see it listen; the signal that ends it goes to the whole group, as that of Ctrl-C does.
	step "make build && { timeout -s INT 20 unshare --net make run || test \$? = 124; }"
fi
rm -rf --one-file-system "$root"
echo "== $suite, $extent: as it should be"

#!/usr/bin/env python3
"""Boots Debian's kernels in QEMU and has each run the checks of guest/; ends with a table of kernels and checks.

    kernels.py run PACKAGE FLOOD [KERNEL...]   as root; PACKAGE is the .deb, FLOOD the program conntracker-flood
    kernels.py judge KERNEL=LOG...             the table of logs that are there already

The environment variable CHECKS names those to be made, if not all are: with those before them that they need.
The exit status is 0 if every check of every kernel went well, or said why it can't be made there.
"""
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("KERNELS_FOLDER", HERE.parent.parent / "target/kernels"))
# The kernel's name, the release around it, and where the kernel is from if not from there.
KERNELS = {
    "5.10": ("bookworm", "bullseye-security"),
    "6.1": ("bookworm", None),
    "6.12": ("trixie", None),
    "7": ("trixie", "trixie-backports"),
}
PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,iproute2,nftables,iptables,conntrack,iputils-ping,procps,kmod,libcap2-bin,"
    "util-linux,mount,libnetfilter-conntrack3,python3-minimal,netbase,initramfs-tools,diffutils,tcpdump"
)
BOOTS = 2
# Boots by emulation; a slow machine takes as long.
BOOT_SECONDS_MAX = 3600
UNIT = """[Unit]
Description=Checks of conntracker
After=basic.target systemd-user-sessions.service
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /opt/k/run.sh
ExecStopPost=/bin/systemctl poweroff --no-block
[Install]
WantedBy=multi-user.target
"""


def expected_checks():
    """The names of all checks, in their order."""
    names = []
    for part in sorted(HERE.glob("guest/[0-9]*.sh")):
        names += re.findall(r"^check (\w+)$", part.read_text(), re.MULTILINE)
    chosen = os.environ.get("CHECKS", "").split()
    unknown = set(chosen) - set(names)
    if unknown:
        sys.exit(f"kernels.py: no such checks: {' '.join(sorted(unknown))}")
    return [name for name in names if name in chosen] if chosen else names


def read_log(text):
    """What a log says: results by check, figures, the kernel's release, the boots that came to their end."""
    results, figures, release, ends = {}, {}, "?", 0
    for line in text.replace("\r", "").splitlines():
        # Other programs' lines on the console may stand before ours.
        found = re.search(r"@@ (ok|skip|FAIL|kernel|figure|end) (\S+?):?(?: (.*))?$", line)
        if not found:
            continue
        what, name, rest = found.groups()
        if what == "kernel":
            release = name
        elif what == "figure":
            figures[name] = rest
        elif what == "end":
            ends += 1
        elif results.get(name, ("ok", ""))[0] != "FAIL":
            results[name] = (what, rest or "")
    return results, figures, release, ends


def judge(logs):
    """Prints the table, and what is wrong; returns how much is."""
    names = expected_checks() + [f"no_oops_{boot}" for boot in range(1, BOOTS + 1)]
    wrong = []
    columns, notes = {}, []
    for kernel, text in logs.items():
        results, figures, release, ends = read_log(text)
        column = {}
        for name in names:
            what, why = results.get(name, ("-", ""))
            column[name] = what
            if what == "FAIL":
                wrong.append(f"{kernel}: {name} fails")
            elif what == "-":
                wrong.append(f"{kernel}: {name} was never made")
            elif what == "skip":
                notes.append(f"{kernel}: {name} is skipped: {why}")
        for name in results.keys() - set(names):
            wrong.append(f"{kernel}: {name} is not among the checks")
        if ends != BOOTS:
            wrong.append(f"{kernel}: {ends} of {BOOTS} boots came to their end")
        columns[f"{kernel} ({release})"] = column
        notes += [f"{kernel}: {name} {value}" for name, value in figures.items()]
    if not logs:
        wrong.append("no kernel was tried")
    print("| check | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        print(f"| {name.replace('_', ' ')} | " + " | ".join(column[name] for column in columns.values()) + " |")
    for note in notes:
        print(note)
    for text in wrong:
        print(f"WRONG: {text}")
    print(f"{len(wrong)} wrong" if wrong else "all is well")
    return len(wrong)


def mirror():
    """Where this machine has its packages."""
    for path in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        text = Path(path).read_text() if Path(path).exists() else ""
        found = re.search(r"^(?:URIs: *|deb (?:\[[^]]*\] )?)(\S+)", text, re.MULTILINE)
        if found:
            return found.group(1)
    sys.exit("kernels.py: no source of packages is set up in /etc/apt")


def sources(suite):
    place = mirror() if not suite.endswith("-security") else mirror().replace("/debian", "/debian-security", 1)
    return f"deb {place} {suite} main\n"


def make_root(name):
    """A root of Debian with a kernel of its own, kept for the next time."""
    suite, kernel_suite = KERNELS[name]
    root = FOLDER / f"{name}.root"
    if (root / "opt/k/made").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    lists = FOLDER / f"{name}.list"
    lists.write_text(sources(suite) + (sources(kernel_suite) if kernel_suite else ""))
    print(f"== {name}: a root of {suite} with the kernel of {kernel_suite or suite}", flush=True)
    # What mounts the root is all that has to be there at first.
    prepare = (
        'printf "MODULES=list\\nCOMPRESS=gzip\\n" >"$1/etc/initramfs-tools/conf.d/k";'
        'printf "virtio_pci\\nvirtio_blk\\next4\\n" >>"$1/etc/initramfs-tools/modules";'
    )
    target = f"-t {kernel_suite}" if kernel_suite else ""
    # The newest that is there: what depends on it may name a newer one than the mirror has.
    image = f"^linux-image-{re.escape(name)}[.].*-cloud-amd64$"
    install = (
        f'image=$(chroot "$1" apt-cache search --names-only "{image}" | cut -d" " -f1 | sort -V | tail -n 1);'
        f'chroot "$1" apt-get install -y -q --no-install-recommends {target} "$image"'
    )
    with open(FOLDER / f"{name}.root.log", "w") as log:
        subprocess.run(
            ["mmdebstrap", "--variant=apt", f"--include={PACKAGES}", "--aptopt=Acquire::Languages \"none\"",
             "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
             f"--customize-hook={prepare}{install}", suite, root, lists],
            check=True, stdout=log, stderr=log)
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/systemd/system/checks.service").write_text(UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "checks.service").symlink_to("../checks.service")
    for noise in ("serial-getty@ttyS0.service", "apt-daily.timer", "apt-daily-upgrade.timer"):
        (root / "etc/systemd/system" / noise).symlink_to("/dev/null")
    (root / "opt/k").mkdir(parents=True)
    (root / "opt/k/made").touch()
    return root


def previous(package, folder):
    """The package as an earlier version."""
    raw = folder / "previous"
    shutil.rmtree(raw, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--raw-extract", package, raw], check=True)
    # Where its unit was then.
    if (raw / "usr/lib/systemd").exists():
        (raw / "lib").mkdir()
        (raw / "usr/lib/systemd").rename(raw / "lib/systemd")
    control = raw / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", "Version: 1.0.0-0~previous", control.read_text(), flags=re.MULTILINE))
    subprocess.run(["dpkg-deb", "-Zgzip", "--root-owner-group", "--build", raw, folder / "previous.deb"], check=True, stdout=subprocess.DEVNULL)
    return folder / "previous.deb"


def make_image(name, root, package, flood):
    guest = root / "opt/k"
    for path in guest.iterdir():
        if path.name != "made":
            path.unlink()
    for path in (HERE / "guest").iterdir():
        shutil.copy(path, guest)
    (guest / "checks").write_text(" ".join(expected_checks()) if os.environ.get("CHECKS") else "")
    shutil.copy(package, guest / "conntracker.deb")
    shutil.copy(previous(package, FOLDER), guest / "previous.deb")
    shutil.copy(flood, guest / "conntracker-flood")
    image = FOLDER / f"{name}.ext4"
    image.unlink(missing_ok=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", root, image, "3G"], check=True)
    return image


def boot(name, root, image, log):
    """One boot; returns what the serial line said."""
    def last(pattern):
        return max(root.glob(f"boot/{pattern}"), key=lambda path: path.stat().st_mtime)
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio",
        "-machine", f"q35,accel={os.environ.get('KERNELS_ACCEL', 'tcg')}", "-cpu", "max", "-m", "1536", "-smp", "2",
        "-kernel", last("vmlinuz-*"), "-initrd", last("initrd.img-*"),
        "-append", "root=/dev/vda rw console=ttyS0 loglevel=4 net.ifnames=0 panic=1 systemd.show_status=0",
        "-drive", f"file={image},format=raw,if=virtio,cache=unsafe", "-device", "virtio-rng-pci",
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as vm:
        # A guest that hangs says nothing, so that waiting for its next line would have no end.
        limit = threading.Timer(BOOT_SECONDS_MAX, vm.kill)
        limit.start()
        text = []
        for line in vm.stdout:
            text.append(line)
            log.write(line)
            log.flush()
            if "@@ " in line or line.startswith("| "):
                print(f"{name}: {line.rstrip()}", flush=True)
        limit.cancel()
        return "".join(text)


def run(package, flood, names):
    logs = {}
    for name in names or KERNELS:
        began = time.monotonic()
        root = make_root(name)
        image = make_image(name, root, package, flood)
        path = FOLDER / f"{name}.log"
        with open(path, "w") as log:
            logs[name] = "".join(boot(name, root, image, log) for _ in range(BOOTS))
        image.unlink()
        print(f"== {name}: {time.monotonic() - began:.0f} s, log in {path}", flush=True)
    return judge(logs)


def main(arguments):
    if len(arguments) >= 3 and arguments[0] == "run":
        wrong = run(arguments[1], arguments[2], arguments[3:])
    elif len(arguments) >= 1 and arguments[0] == "judge":
        logs = [argument.split("=", 1) for argument in arguments[1:]]
        wrong = judge({kernel: Path(path).read_text(errors="replace") for kernel, path in logs})
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

//! The package in a fresh Debian root: installed with apt from the file, used on the live kernel,
//! put over the C tool's package, upgraded, removed and purged.
//!
//! `CONNTRACKER_DEB` names the package; `make test-package` builds it and sets that.

mod host;

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use host::{Namespace, TRAFFIC, is_root, run, sh, wait_for};

/// What the C tool's package is stood in for by: its name and last version, a program, an init script
/// with its links, and a conffile of the name that ours has too.
const OLD_PACKAGE: &str = "\
mkdir -p old/DEBIAN old/usr/sbin old/etc/init.d old/etc/default
cat >old/DEBIAN/control <<END
Package: conntracker
Version: 0.4-rc1
Architecture: $ARCH
Maintainer: nobody <nobody@example.org>
Description: stands in for the C tool
END
printf '/etc/init.d/conntracker\\n/etc/default/conntracker\\n' >old/DEBIAN/conffiles
printf '#!/bin/sh\\nset -e\\nupdate-rc.d conntracker defaults\\n' >old/DEBIAN/postinst
printf '#!/bin/sh\\n### BEGIN INIT INFO\\n# Provides: conntracker\\n# Required-Start:\\n\
# Required-Stop:\\n# Default-Start: 2 3 4 5\\n# Default-Stop: 0 1 6\\n### END INIT INFO\\n' \
    >old/etc/init.d/conntracker
printf '#!/bin/sh\\necho the C tool\\n' >old/usr/sbin/conntracker
echo 'DAEMON_OPTS=-d' >old/etc/default/conntracker
chmod 755 old/DEBIAN/postinst old/etc/init.d/conntracker old/usr/sbin/conntracker
dpkg-deb --root-owner-group --build old old.deb";

/// An earlier version of ours: the package as it is, with another number.
const PREVIOUS_PACKAGE: &str = "\
dpkg-deb --raw-extract new.deb previous
sed -i 's/^Version: .*/Version: 1.0.0-0~previous/' previous/DEBIAN/control
mkdir previous/lib
mv previous/usr/lib/systemd previous/lib
echo '# as it was then' >>previous/etc/default/conntracker
(cd previous && find etc/default lib usr -type f -exec md5sum {} + >DEBIAN/md5sums)
dpkg-deb --root-owner-group --build previous previous.deb";

/// The release of this machine, for which the package was built.
fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let line = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("a release of Debian or Ubuntu").to_owned()
}

struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("root-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let root = Self(path);
        // From where this machine has its packages, so that a mirror set there is used here.
        let sources = [
            "/etc/apt/sources.list.d/debian.sources",
            "/etc/apt/sources.list",
        ];
        let sources = sources
            .iter()
            .filter(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0));
        run(Command::new("mmdebstrap")
            .args([
                "--quiet",
                "--variant=apt",
                "--include=ca-certificates",
                "--skip=cleanup/apt/lists",
                &suite(),
            ])
            .arg(&root.0)
            .args(sources.take(1)));
        // Where a mirror's certificate is this machine's own.
        sh(&format!(
            "cp -L /etc/resolv.conf {root}/etc/resolv.conf
             cp -L /etc/ssl/certs/ca-certificates.crt {root}/etc/ssl/certs/ca-certificates.crt",
            root = root.0.display()
        ));
        root
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let mut command = Command::new("chroot");
        command
            .arg(&self.0)
            .args(["sh", "-euc", script])
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(command
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    }

    #[track_caller]
    fn apt(&self, arguments: &str) {
        self.sh(&format!(
            "cd /tmp/deb && apt-get -y -qq --no-install-recommends {arguments} 2>&1"
        ));
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.0.join(path)).is_ok()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn version(&self) -> String {
        self.sh("dpkg-query -W -f '${Version} ${db:Status-Status}' conntracker")
    }

    /// Everything in it but what apt and dpkg keep about any package.
    fn files(&self) -> BTreeSet<String> {
        let all = self.sh(
            "find / -xdev ! -path '/proc/*' ! -path '/sys/*' ! -path '/tmp/*' ! -path '/dev/*'",
        );
        let kept = [
            "/var/lib/dpkg",
            "/var/lib/apt",
            "/var/cache",
            "/var/log",
            "/etc/ld.so.cache",
        ];
        all.lines()
            .filter(|path| !kept.iter().any(|kept| path.starts_with(kept)))
            .map(Into::into)
            .collect()
    }

    /// Lists real traffic with the installed program, in the foreground and as a daemon.
    fn capture(&self) {
        let namespace = Namespace::new("package");
        let inside = |script: &str| {
            let root = self.0.display();
            let mut command = namespace.command("sh");
            command.args([
                "-euc",
                &format!("mount -t proc proc {root}/proc; exec chroot {root} sh -euc \"$1\""),
                "sh",
                script,
            ]);
            command
        };
        let log = UnixDatagram::bind(self.0.join("dev/log")).unwrap();
        log.set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();

        run(&mut inside(
            "conntracker --verbose --track -d -o /tmp/flows.txt",
        ));
        let pid = self.read("run/conntracker.pid").trim().to_owned();
        namespace.make_traffic();
        wait_for("the list so far", || {
            run(Command::new("kill").args(["-USR1", &pid]));
            (fs::read_to_string(self.0.join("tmp/flows.txt")).ok()? == TRAFFIC).then_some(())
        });
        run(Command::new("kill").arg(&pid));
        wait_for("the daemon's end", || {
            (!self.has("run/conntracker.pid")).then_some(())
        });
        assert_eq!(self.read("tmp/flows.txt"), TRAFFIC);
        let mut buffer = [0; 512];
        let len = log.recv(&mut buffer).expect("a message in the system log");
        let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
        assert!(line.starts_with("<30>conntracker["), "{line}");
        fs::remove_file(self.0.join("dev/log")).unwrap();
        fs::remove_file(self.0.join("tmp/flows.txt")).unwrap();

        let shown = run(&mut inside("conntracker --track --duration 1s"));
        assert_eq!(shown, "", "a namespace at rest");
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_package_installs_works_upgrades_and_goes() {
    let Some(deb) = env::var_os("CONNTRACKER_DEB") else {
        vendor_tests::skipped!("CONNTRACKER_DEB names no package; make test-package does");
        return;
    };
    if !is_root("the_package_installs_works_upgrades_and_goes") {
        return;
    }
    let root = Root::new();
    let folder = root.0.join("tmp/deb");
    fs::create_dir(&folder).unwrap();
    fs::copy(&deb, folder.join("new.deb")).unwrap();
    sh(&format!(
        "cd {}\nARCH=$(dpkg --print-architecture)\n{OLD_PACKAGE}\n{PREVIOUS_PACKAGE}",
        folder.display()
    ));
    let new = run(Command::new("dpkg-deb")
        .args(["-f"])
        .arg(&deb)
        .arg("Version"))
    .trim()
    .to_owned();
    // A minimal root of Debian 13 has no such folder, and dpkg leaves it behind for any package that takes back a conffile
    // in it (dpkg-maintscript-helper(1), rm_conffile).
    fs::create_dir_all(root.0.join("etc/init.d")).expect("a root that can be written");
    let before = root.files();

    // Fresh.
    root.apt("install ./new.deb");
    assert_eq!(root.version(), format!("{new} installed"));
    let depends = root.sh("dpkg-query -W -f '${Depends}' conntracker");
    let names: Vec<_> = depends
        .split(", ")
        .map(|one| one.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["libc6", "libgcc-s1", "libnetfilter-conntrack3"]);
    assert_eq!(
        root.sh("dpkg-query -W -f '${Recommends}' conntracker"),
        "iproute2, nftables"
    );
    let contents = root.sh("dpkg -L conntracker");
    for path in [
        "/usr/sbin/conntracker",
        "/usr/share/bash-completion/completions/conntracker",
        "/usr/share/zsh/vendor-completions/_conntracker",
        "/usr/share/fish/vendor_completions.d/conntracker.fish",
        "/usr/share/man/man8/conntracker.8.gz",
        "/usr/share/doc/conntracker/README.md.gz",
        "/usr/lib/systemd/system/conntracker.service",
        "/etc/default/conntracker",
        "/etc/conntracker/conntracker.toml",
    ] {
        assert!(contents.lines().any(|line| line == path), "{path}");
    }
    assert!(!contents.contains("flood"));
    assert!(
        !root.has("etc/systemd/system/multi-user.target.wants/conntracker.service"),
        "not enabled"
    );
    for conffile in [
        "etc/default/conntracker",
        "etc/conntracker/conntracker.toml",
    ] {
        let conffiles = root.sh("dpkg-query -W -f '${Conffiles}' conntracker");
        assert!(conffiles.contains(conffile), "{conffiles}");
    }
    root.sh("bash -n /usr/share/bash-completion/completions/conntracker");
    root.capture();
    // What systemd makes for StateDirectory= of a service with DynamicUser=.
    root.sh(
        "mkdir -p /var/lib/private/conntracker && ln -s private/conntracker /var/lib/conntracker
         echo list >/var/lib/conntracker/flows.txt",
    );
    root.apt("remove conntracker");
    assert!(!root.has("usr/sbin/conntracker") && root.has("etc/default/conntracker"));
    assert!(root.has("var/lib/private/conntracker/flows.txt"));
    root.apt("purge --autoremove conntracker");
    root.sh("rmdir /var/lib/private");
    assert_eq!(root.files(), before);

    // Over the C tool's package.
    root.apt("install ./old.deb");
    assert_eq!(root.sh("conntracker"), "the C tool\n");
    assert!(root.has("etc/rc2.d/S01conntracker"));
    root.apt("install ./previous.deb");
    assert!(root.sh("conntracker --version").starts_with("conntracker "));
    assert!(!root.has("etc/init.d/conntracker"));
    assert_eq!(
        root.sh("ls -d /etc/rc?.d/*conntracker /etc/init.d/conntracker* 2>/dev/null || true"),
        ""
    );
    assert!(
        root.read("etc/default/conntracker")
            .contains("CONNTRACKER_OPTIONS"),
        "unchanged, so replaced"
    );

    // From an earlier version of ours, with the administrator's options.
    fs::write(
        root.0.join("etc/default/conntracker"),
        "CONNTRACKER_OPTIONS=--reliable\n",
    )
    .unwrap();
    root.apt("-o Dpkg::Options::=--force-confold install ./new.deb");
    assert_eq!(root.version(), format!("{new} installed"));
    assert_eq!(
        root.read("etc/default/conntracker"),
        "CONNTRACKER_OPTIONS=--reliable\n"
    );
    // It was in /lib, which is the same folder by another name.
    assert!(root.has("usr/lib/systemd/system/conntracker.service"));
    root.capture();
    root.apt("purge --autoremove conntracker");
    assert_eq!(root.files(), before);

    // From the C tool's straight to this one.
    root.apt("install ./old.deb");
    root.apt("install ./new.deb");
    assert_eq!(root.version(), format!("{new} installed"));
    root.apt("purge --autoremove conntracker");
    assert_eq!(root.files(), before);
}

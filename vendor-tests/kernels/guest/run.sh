#!/bin/bash
# Runs the checks of this boot; the number of the boot is in a file.
. /opt/k/lib.sh
# Names of checks; without any, all are made.
CHECKS=$(cat $K/checks)
boot=$(cat $K/boot 2>/dev/null || echo 1)
echo $((boot + 1)) >$K/boot
exec >/dev/ttyS0 2>&1
echo "@@ kernel $(uname -r)"
case $boot in 1) parts='10 20 30 40 50' ;; *) parts=60 ;; esac
for part in $parts; do . $K/$part-*.sh; done
dmesg | grep -E 'BUG:|WARNING:|Oops|rcu.*stall|segfault' | head -5 | sed 's/^/| /'
if dmesg | grep -qE 'BUG:|Oops|segfault.*conntracker'; then echo "@@ FAIL no_oops_$boot"; else echo "@@ ok no_oops_$boot"; fi
[ $boot = 1 ] && systemctl start conntracker
sync
echo "@@ end $boot"

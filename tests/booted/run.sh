#!/bin/sh
# Tries the Debian package as its administrators get it, in a booted Debian:
#   run.sh PACKAGE
# Needs root, and debootstrap for the first run; what it makes is kept below
# target/booted, and the copy that was booted is gone at the end.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
package=$(realpath "$1")
kept=$top/target/booted
if [ ! -e "$kept/made" ]; then
	rm -rf "$kept/base"
	mkdir -p "$kept"
	# As on the machine that runs this, so that the binary's libraries fit.
	# shellcheck disable=SC1091
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,logrotate,curl,openssl,openssh-client,fail2ban,python3-systemd,nftables,procps,iproute2 \
		"$suite" "$kept/base" >"$kept/log" 2>&1 || { tail -n 20 "$kept/log" >&2; exit 1; }
	touch "$kept/made"
fi
place=$(mktemp -d)
init=
clean() {
	[ -z "$init" ] || kill -9 "$init" 2>/dev/null || true
	umount -l "$place/root" "$place/disk" 2>/dev/null || true
	rm -rf "$place"
}
trap clean EXIT
trap 'exit 1' INT TERM
init=$(sh "$here/boot.sh" "$kept/base" "$place")
for _ in $(seq 150); do
	state=$(nsenter -t "$init" -a systemctl is-system-running 2>/dev/null || true)
	case $state in running | degraded) break ;; esac
	sleep 0.2
done
nsenter -t "$init" -m sh -c 'cat > /root/inside.sh' <"$here/inside.sh"
nsenter -t "$init" -m sh -c 'cat > /root/wharfd.deb' <"$package"
timeout 300 nsenter -t "$init" -a env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C \
	sh /root/inside.sh /root/wharfd.deb

#!/bin/sh
# Boots a copy of a Debian directory with its own systemd, in namespaces:
#   boot.sh BASE PLACE
# BASE is what debootstrap made; changes go to an overlay in PLACE, which is
# made. Prints the process of its init. Needs root. The copy has a loopback
# interface and no other.
set -eu
base=$(realpath "$1")
mkdir -p "$2"
place=$(realpath "$2")
mkdir -p "$place/disk"
# Overlays want an upper directory that is no overlay itself.
mount -t tmpfs -o mode=755 booted "$place/disk"
mkdir "$place/disk/upper" "$place/disk/work" "$place/root"
mount -t overlay overlay \
	-o "lowerdir=$base,upperdir=$place/disk/upper,workdir=$place/disk/work" "$place/root"

# shellcheck disable=SC2016 # for the inner shell
unshare --mount --pid --fork --uts --ipc --net --cgroup --propagation private \
	sh -eu -c '
	root=$1
	mount --bind "$root" "$root"
	cd "$root"
	mount -t proc proc proc
	mount -t sysfs -o ro sysfs sys
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs tmpfs tmp
	mount -t tmpfs -o mode=755 tmpfs dev
	for node in null zero full random urandom tty; do
		touch "dev/$node"
		mount --bind "/dev/$node" "dev/$node"
	done
	mkdir dev/pts dev/shm
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	ln -s /proc/self/fd/0 dev/stdin
	ln -s /proc/self/fd/1 dev/stdout
	ln -s /proc/self/fd/2 dev/stderr
	hostname booted
	ip link set lo up
	mkdir -p old
	pivot_root . old
	umount -l old
	exec env -i container=wharf-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
' sh "$place/root" >"$place/console" 2>&1 </dev/null &
unshared=$!
# The init is the child that unshare forked.
for _ in $(seq 100); do
	init=$(tr -d ' ' <"/proc/$unshared/task/$unshared/children" 2>/dev/null || true)
	[ -z "$init" ] || break
	sleep 0.1
done
[ -n "$init" ] || { cat "$place/console" >&2; exit 1; }
echo "$init"

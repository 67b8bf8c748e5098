#!/bin/sh
# Installs the clients, and the servers that start wharfd, that the tests
# drive, on Debian. One line a package, with the test that wants it; without a
# package that test says SKIP, or fails if WHARF_NEED_CLIENTS=1.
set -eu
packages=$(sed 's/#.*//' <<'LIST'
curl                 # clients, clients_tls, sftp_clients (libssh2)
lftp                 # clients, clients_tls (GnuTLS), sftp_clients
tnftp                # clients
inetutils-ftp        # clients
ncftp                # clients
wget                 # clients, clients_tls
python3              # clients, clients_tls: ftplib
python3-aioftp       # clients_tls: makes its handshake before its command
perl                 # clients_tls: Net::FTP
libio-socket-ssl-perl # clients_tls: Net::FTP under TLS
rclone               # clients, clients_tls (Go), sftp_clients
busybox              # clients: ftpget and ftpput; logs: syslogd
openssh-client       # sftp_clients: sftp, scp, ssh-keygen
openssh-server       # sftp_clients: sshd, which starts the subsystem
openssh-sftp-server  # sftp_clients: the path that dropbear looks for
dropbear-bin         # sftp_clients: dropbear, which starts the subsystem; dbclient
sshfs                # sftp_clients
fuse3                # sftp_clients: fusermount3
putty-tools          # sftp_clients: psftp, puttygen
python3-paramiko     # sftp_clients
python3-asyncssh     # sftp_clients
gnutls-bin           # tls, clients_tls: gnutls-cli
openssl              # tls, clients_tls: openssl s_client
haproxy              # lb_config, cluster: the balancer
nftables             # lb_config, cluster
keepalived           # lb_config
bind9-utils          # lb_config: named-checkzone
iproute2             # cluster: ip netns, tc
mandoc               # make man-lint
logrotate            # logs
runit                # services: runsv
s6                   # services: s6-supervise
shellcheck           # services
make                 # packages, services
debhelper            # packages: dh
dpkg-dev             # packages: dpkg-buildpackage
lintian              # packages
buildah              # packages
pamtester            # accounts: PAM
slapd                # accounts: LDAP
ldap-utils           # accounts: ldapsearch
xinetd               # launchers (openbsd-inetd conflicts with it)
ucspi-tcp            # launchers: tcpserver
ipsvd                # launchers: tcpsvd
systemd              # launchers: systemd-socket-activate; services: systemd-analyze
fail2ban             # launchers, logs: fail2ban-regex
prometheus           # control: promtool
e2fsprogs            # faults: mkfs.ext4, for a power cut
debootstrap          # make test-packages
LIST
)
# Packages that would start their server, or that conflict with another: only
# a program is taken from them, and the libraries that they ask for. One line a
# program: its package, its path there, and the test that wants it.
taken=$(sed 's/#.*//' <<'TAKEN'
openbsd-inetd usr/sbin/inetd  # launchers: conflicts with xinetd
vsftpd usr/sbin/vsftpd        # model: compared with wharf
pure-ftpd usr/sbin/pure-ftpd  # model: compared with wharf
pure-ftpd usr/bin/pure-pw     # model
TAKEN
)
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
updated=
update() {
	[ -n "$updated" ] || $sudo apt-get update
	updated=yes
}
missing=
want() {
	case $(dpkg-query -W -f='${Status}' "$1" 2>/dev/null) in
	*' installed') ;;
	*) missing="$missing $1" ;;
	esac
}
for package in $packages; do
	want "$package"
done
# shellcheck disable=SC2086 # a list of words
set -- $taken
while [ $# -gt 0 ]; do
	package=$1 path=$2 program=${2##*/}
	shift 2
	if command -v "$program" >/dev/null || [ -x "/usr/local/sbin/$program" ]; then
		continue
	fi
	update
	scratch=$(mktemp -d)
	(cd "$scratch" && apt-get download "$package" && dpkg -x "$package"_*.deb .)
	for library in $(dpkg -f "$scratch/$package"_*.deb Depends | tr ',' '\n' |
		sed -n 's/^ *\(lib[a-z0-9.+-]*\).*/\1/p'); do
		want "$library"
	done
	$sudo install -m 755 "$scratch/$path" "/usr/local/sbin/$program"
	rm -rf "$scratch"
done
[ -n "$missing" ] || exit 0
update
# shellcheck disable=SC2086 # a list of words
exec $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing

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
python3-ftputil      # clients
axel                 # clients
aria2                # clients: aria2c
ftpcopy              # clients
wput                 # clients
sitecopy             # clients
yafc                 # clients
mc                   # clients: mcview, its ftpfs
ruby                 # clients: net/ftp
php-cli              # clients: ftp_* and the URL wrapper
libcommons-net-java  # clients: commons_net
ecj                  # clients: compiles for it, and brings a Java
filezilla            # clients
xvfb                 # clients: filezilla's display
xdotool              # clients: filezilla's keyboard
python3-aioftp       # clients_tls: makes its handshake before its command
perl                 # clients_tls: Net::FTP
libio-socket-ssl-perl # clients_tls: Net::FTP under TLS
rclone               # clients, clients_tls (Go), sftp_clients
busybox              # clients: ftpget and ftpput; logs: syslogd
openssh-client       # sftp_clients: sftp, scp, ssh-keygen
openssh-sftp-server  # sftp_clients: the path that dropbear looks for
dropbear-bin         # sftp_clients: dropbear, which starts the subsystem; dbclient
sshfs                # sftp_clients
fuse3                # sftp_clients: fusermount3
putty-tools          # sftp_clients: psftp, puttygen
python3-paramiko     # sftp_clients
python3-asyncssh     # sftp_clients
python3-scp          # sftp_clients: scp.py
gnutls-bin           # tls, clients_tls: gnutls-cli
openssl              # tls, clients_tls: openssl s_client
pebble               # acme: an authority for certificates
nftables             # lb_config, cluster, network
bind9-utils          # lb_config: named-checkzone
iproute2             # cluster, network: ip netns, tc, ss
mandoc               # make man-lint
codespell            # make spelling
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
ldap-utils           # accounts: ldapsearch
ucspi-tcp            # launchers: tcpserver
ipsvd                # launchers: tcpsvd
systemd              # launchers: systemd-socket-activate; services: systemd-analyze
strace               # faults: system calls that fail
e2fsprogs            # faults: mkfs.ext4, for a power cut
chromium             # page: the status page in a browser
debootstrap          # make test-packages
LIST
)
# Packages whose server Debian starts, or that conflict with another: unpacked
# below target/programs and not installed, so that nothing is started or removed
# on this machine. One line a program: its package, its path there, and the
# test that wants it. What they need besides: their other packages.
taken=$(sed 's/#.*//' <<'TAKEN'
openbsd-inetd usr/sbin/inetd            # launchers
xinetd usr/sbin/xinetd                  # launchers
fail2ban usr/bin/fail2ban-regex         # launchers, logs
haproxy usr/sbin/haproxy                # lb_config, cluster: the balancer
keepalived usr/sbin/keepalived          # lb_config
openssh-server usr/sbin/sshd            # sftp_clients: starts the subsystem
prometheus usr/bin/promtool             # control
pure-ftpd usr/sbin/pure-ftpd            # model: compared with wharf
pure-ftpd usr/bin/pure-pw               # model
slapd usr/sbin/slapd                    # accounts: LDAP
slapd usr/sbin/slapadd                  # accounts
vsftpd usr/sbin/vsftpd                  # model: compared with wharf
TAKEN
)
here=$(cd "$(dirname "$0")" && pwd)
programs=$here/../target/programs
mkdir -p "$programs/root" "$programs/bin"
programs=$(cd "$programs" && pwd)
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
updated=
update() {
	[ -n "$updated" ] || $sudo apt-get update
	updated=yes
}

# unpack PACKAGE: into target/programs/root, with the libraries that it asks
# for and this machine lacks.
unpack() {
	[ ! -e "$programs/$1.unpacked" ] || return 0
	update
	scratch=$(mktemp -d)
	(cd "$scratch" && apt-get download "$1")
	dpkg -x "$scratch/$1"_*.deb "$programs/root"
	needed=$(dpkg -f "$scratch/$1"_*.deb Depends | tr ',' '\n' |
		sed -n 's/^ *\(lib[a-z0-9.+-]*\).*/\1/p')
	rm -rf "$scratch"
	for library in $needed; do
		is_installed "$library" || unpack "$library"
	done
	touch "$programs/$1.unpacked"
}

is_installed() {
	case $(dpkg-query -W -f='${Status}' "$1" 2>/dev/null) in
	*' installed') ;;
	*) return 1 ;;
	esac
}

# wrap PROGRAM PATH: a script that starts the unpacked program with what is
# beside it.
wrap() {
	{
		cat <<END
#!/bin/sh
root='$programs/root'
for directory in "\$root"/usr/lib/*-linux-gnu "\$root"/lib/*-linux-gnu; do
	LD_LIBRARY_PATH=\$directory\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
END
		case $1 in
		fail2ban-regex)
			cat <<'END'
PYTHONPATH=$root/usr/lib/python3/dist-packages \
	exec python3 "$root/usr/bin/fail2ban-regex" --config "$root/etc/fail2ban" "$@"
END
			;;
		sshd)
			# It wants its user, which the package makes, and its directory.
			cat <<'END'
[ "$(id -u)" = 0 ] && ! id sshd >/dev/null 2>&1 || exec "$root/usr/sbin/sshd" "$@"
export root
exec unshare --mount sh -ec '
	mount -t tmpfs tmpfs /run
	mkdir -m 755 /run/sshd
	cp /etc/passwd /run/passwd
	echo "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin" >>/run/passwd
	mount --bind /run/passwd /etc/passwd
	exec "$root/usr/sbin/sshd" "$@"
' sh "$@"
END
			;;
		*) echo "exec \"\$root/$2\" \"\$@\"" ;;
		esac
	} >"$programs/bin/$1"
	chmod 755 "$programs/bin/$1"
}

missing=
for package in $packages; do
	is_installed "$package" || missing="$missing $package"
done
# shellcheck disable=SC2086 # a list of words
set -- $taken
while [ $# -gt 0 ]; do
	package=$1 path=$2 program=${2##*/}
	shift 2
	# One that is installed is used as it is.
	command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || {
		unpack "$package"
		wrap "$program" "$path"
	}
done
[ -n "$missing" ] || exit 0
echo "These packages are installed for the tests, each for the one that tests/install-clients.sh names:"
echo " $missing"
update
# shellcheck disable=SC2086 # a list of words
exec $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing

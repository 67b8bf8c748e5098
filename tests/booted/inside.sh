#!/bin/sh
# What an administrator does with the package, in the order of its manual.
# Runs as root in the booted copy: inside.sh PACKAGE
set -u
package=$1
failures=0
step() { printf '\n-- %s\n' "$*"; }
ok() { printf 'ok   %s\n' "$*"; }
bad() {
	printf 'FAIL %s\n' "$*"
	failures=$((failures + 1))
}
# check WORDS COMMAND...: the command succeeds.
check() {
	what=$1
	shift
	if output=$("$@" 2>&1); then ok "$what"; else bad "$what: $output"; fi
}
# refuse WORDS COMMAND...: the command fails.
refuse() {
	what=$1
	shift
	if output=$("$@" 2>&1); then bad "$what: $output"; else ok "$what"; fi
}
# within SECONDS COMMAND...: it succeeds before that.
within() {
	tries=$(($1 * 5))
	shift
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.2
	done
}
journal() { journalctl --no-pager -o cat -u wharfd.service; }
says() { journal | grep -q "$1"; }
ftp=ftp://127.0.0.1

step 'install'
check 'the package installs' dpkg -i "$package"
check 'the service runs' within 10 systemctl is-active wharfd
check 'it does not run as root' test "$(ps -o user= -C wharfd | head -n 1)" = wharf

step 'the first user'
check 'passwd adds one' sh -c 'printf "secret\n" | wharfd passwd --create-home --home /srv/ftp/ann /etc/wharfd.users ann'
check 'the home is there' test -d /srv/ftp/ann
echo hello >/tmp/hello
check 'they log in and upload, without a restart' \
	within 5 curl -sS -m 10 -u ann:secret -T /tmp/hello $ftp/hello
check 'and read it back' sh -c "curl -sS -m 10 -u ann:secret $ftp/hello | cmp - /tmp/hello"
check 'the journal has the upload' within 5 says hello

step 'the journal'
refuse 'a wrong password is refused' curl -sS -m 20 -u ann:wrong $ftp/
check 'it is a warning there' within 5 sh -c 'journalctl --no-pager -o cat -u wharfd.service -p warning | grep -q "login refused"'
refuse 'a login is none' sh -c 'journalctl --no-pager -o cat -u wharfd.service -p warning | grep -q "logged in"'

step 'who'
head -c 60000000 /dev/zero >/srv/ftp/ann/large
chown wharf /srv/ftp/ann/large
curl -sS -m 60 --limit-rate 1M -u ann:secret $ftp/large -o /dev/null &
slow=$!
check 'wharfd who shows a session' within 5 sh -c 'wharfd who | grep -q ann'
kill $slow 2>/dev/null

step 'reload'
printf 'banner Hello from the test.\n' >>/etc/wharfd.conf
check 'systemctl reload' systemctl reload wharfd
check 'the new banner is in force' within 5 sh -c "curl -v -m 10 -u ann:secret $ftp/ 2>&1 | grep -q 'Hello from the test'"

step 'certificates in the layout of certbot'
certificate() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$1" \
		-keyout "/etc/letsencrypt/archive/site/privkey$2.pem" \
		-out "/etc/letsencrypt/archive/site/fullchain$2.pem" 2>/dev/null
	chgrp wharf "/etc/letsencrypt/archive/site/privkey$2.pem"
	chmod 640 "/etc/letsencrypt/archive/site/privkey$2.pem"
	for kind in fullchain privkey; do
		ln -sfn "../../archive/site/$kind$2.pem" "/etc/letsencrypt/live/site/$kind.pem"
	done
}
mkdir -p /etc/letsencrypt/live/site /etc/letsencrypt/archive/site
certificate one.test 1
cat >>/etc/wharfd.conf <<'END'
tls-cert /etc/letsencrypt/live/site/fullchain.pem
tls-key /etc/letsencrypt/live/site/privkey.pem
END
check 'a restart takes the certificate' systemctl restart wharfd
subject() {
	openssl s_client -connect 127.0.0.1:21 -starttls ftp </dev/null 2>/dev/null |
		openssl x509 -noout -subject
}
shows() { subject | grep -q "$1"; }
check 'it is served' within 5 shows one.test
certificate two.test 2
check 'the renewed one is served by itself' within 20 shows two.test
# Outside /etc, as container and appliance volumes have it.
mkdir -p /opt/certs/v1 /opt/certs/v2
for version in 1 2; do
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=opt$version.test" \
		-keyout /opt/certs/v$version/key.pem -out /opt/certs/v$version/cert.pem 2>/dev/null
	chgrp wharf /opt/certs/v$version/key.pem
	chmod 640 /opt/certs/v$version/key.pem
done
ln -sfn v1 /opt/certs/current
sed -i 's|^tls-cert .*|tls-cert /opt/certs/current/cert.pem|; s|^tls-key .*|tls-key /opt/certs/current/key.pem|' /etc/wharfd.conf
check 'a restart takes a certificate of /opt' systemctl restart wharfd
check 'it is served' within 5 shows opt1.test
ln -sfn v2 /opt/certs/current
check 'its renewal is served' within 20 shows opt2.test

step 'logrotate'
printf 'transfer-log /var/log/wharf/transfers.log\nlog-file /var/log/wharf/wharfd.log\n' >>/etc/wharfd.conf
check 'a restart writes to files' systemctl restart wharfd
check 'upload' within 5 curl -sS -m 10 -u ann:secret -T /tmp/hello $ftp/two
check 'the transfer log has it' within 5 grep -q two /var/log/wharf/transfers.log
check 'logrotate runs' logrotate -f /etc/logrotate.d/wharfd
check 'the old log is aside' test -e /var/log/wharf/transfers.log.1
check 'upload after it' curl -sS -m 10 -u ann:secret -T /tmp/hello $ftp/three
check 'the new log has it' within 5 grep -q three /var/log/wharf/transfers.log
refuse 'the old one has not' grep -q three /var/log/wharf/transfers.log.1
check 'the new log file is written' within 5 grep -q three /var/log/wharf/wharfd.log

step 'fail2ban'
cat >/etc/fail2ban/jail.local <<'END'
[DEFAULT]
banaction = nftables
[sshd]
enabled = false
[wharfd]
enabled = true
maxretry = 3
END
banned() { fail2ban-client status wharfd | grep -q "$1"; }
for source in journal file; do
	sed -i '/^log-file/d' /etc/wharfd.conf
	backend=systemd
	if [ $source = file ]; then
		printf 'log-file /var/log/wharf/wharfd.log\n' >>/etc/wharfd.conf
		backend='auto\nlogpath = /var/log/wharf/wharfd.log'
	fi
	sed -i "/^backend/d; /^logpath/d; /^maxretry/a backend = $backend" /etc/fail2ban/jail.local
	systemctl restart wharfd
	check "fail2ban starts with the $source" systemctl restart fail2ban
	check 'its jail is there' within 10 fail2ban-client status wharfd
	ip address add 127.9.9.9/32 dev lo 2>/dev/null
	tries_from() { for _ in 1 2 3 4; do curl -sS -m 20 --interface 127.9.9.9 -u ann:wrong $ftp/ >/dev/null 2>&1; done; }
	tries_from
	check "it bans from the $source" within 20 banned 127.9.9.9
	fail2ban-client unban --all >/dev/null 2>&1
done
sed -i '/^log-file/d' /etc/wharfd.conf
systemctl restart wharfd

step 'users of the system'
useradd -m -s /bin/bash carl 2>/dev/null
echo carl:geheim | chpasswd
mkdir -p /etc/systemd/system/wharfd.service.d
cp /usr/share/doc/wharfd/contrib/systemd/system-users.conf /etc/systemd/system/wharfd.service.d/
printf 'system-users yes\n' >>/etc/wharfd.conf
systemctl daemon-reload
check 'restart with the drop-in' systemctl restart wharfd
check 'a user of the system uploads' within 5 curl -sS -m 10 -u carl:geheim -T /tmp/hello $ftp/mine
check 'the file is theirs' test "$(stat -c %U /home/carl/mine)" = carl
check 'the user of the users file still logs in' curl -sS -m 10 -u ann:secret $ftp/
rm -r /etc/systemd/system/wharfd.service.d
sed -i '/^system-users/d' /etc/wharfd.conf
systemctl daemon-reload
check 'and back' systemctl restart wharfd

step 'upgrade while a transfer runs'
curl -sS -m 60 --limit-rate 10M -u ann:secret $ftp/large -o /tmp/large &
slow=$!
sleep 1
check 'the package is installed again' dpkg -i "$package"
if wait $slow && cmp -s /tmp/large /srv/ftp/ann/large; then
	ok 'the transfer came to its end'
else
	bad 'the transfer was cut'
fi
check 'the service runs' within 10 curl -sS -m 10 -u ann:secret $ftp/

step 'remove and purge'
check 'removed' apt-get remove -y wharfd
refuse 'it no longer runs' curl -sS -m 5 $ftp/
check 'the users are kept' test -s /etc/wharfd.users
check 'purged' apt-get purge -y wharfd
refuse 'the users are gone' test -e /etc/wharfd.users
check 'what people stored is kept' test -s /srv/ftp/ann/hello
leftovers=$(find /etc /var/lib /lib/systemd /run -name '*wharf*' ! -path '*/dpkg/*' ! -path '*/fail2ban/*' 2>/dev/null)
check "nothing else is left: $leftovers" test -z "$leftovers"

[ "$failures" = 0 ] || journalctl --no-pager -u wharfd.service | tail -n 60
echo
echo "booted: $failures failures"
[ "$failures" = 0 ]

#!/bin/sh
# Which of the files here this machine has a use for, as words for
# "make install WITH=...".
[ -d /run/systemd/system ] && echo systemd
[ -x /sbin/openrc-run ] && echo openrc
[ -e /etc/openwrt_release ] && echo openwrt
[ -d /etc/runit ] && echo runit
[ -d /etc/s6 ] && echo s6
[ -d /etc/xinetd.d ] && echo xinetd
[ -d /etc/logrotate.d ] && echo logrotate
[ -d /etc/fail2ban ] && echo fail2ban
exit 0

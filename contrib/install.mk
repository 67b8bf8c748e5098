# Where wharfd and what belongs to it go. `make install` puts the program, the
# manual pages and contrib/ as documentation; WITH names what the system's own
# programs read. Without DESTDIR it is what this machine has a use for.

PREFIX     ?= /usr/local
SBINDIR    ?= $(PREFIX)/sbin
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/wharf
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
SYSCTLDIR   ?= $(PREFIX)/lib/sysctl.d
MODULESDIR  ?= $(PREFIX)/lib/modules-load.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
# What is installed as wharfd.
WHARFD     ?= target/release/wharfd
# Where sshd or dropbear look for the SFTP subsystem, such as
# /usr/libexec/sftp-server; empty: no link is made.
SFTP_SERVER ?=
WITH       ?= $(if $(DESTDIR),,$(shell sh contrib/detect.sh))

# For each word of WITH: files of contrib/ and their places, with a + where
# they are programs.
systemd_FILES   = $(foreach unit,$(notdir $(wildcard contrib/systemd/*.service contrib/systemd/*.socket contrib/systemd/*.timer)),systemd/$(unit):$(UNITDIR)/$(unit)) \
                  systemd/wharf.sysusers:$(SYSUSERSDIR)/wharf.conf \
                  systemd/wharf.sysctl:$(SYSCTLDIR)/60-wharf.conf \
                  systemd/wharf.modules:$(MODULESDIR)/wharf.conf \
                  systemd/wharf.tmpfiles:$(TMPFILESDIR)/wharf.conf
openrc_FILES    = +openrc/wharfd:$(SYSCONFDIR)/init.d/wharfd
openwrt_FILES   = +openwrt/wharfd.init:$(SYSCONFDIR)/init.d/wharfd \
                  openwrt/wharfd.config:$(SYSCONFDIR)/config/wharfd
runit_FILES     = +runit/wharfd/run:$(SYSCONFDIR)/sv/wharfd/run \
                  +runit/wharfd/finish:$(SYSCONFDIR)/sv/wharfd/finish
s6_FILES        = +s6/wharfd/run:$(SYSCONFDIR)/s6/sv/wharfd/run \
                  +s6/wharfd/finish:$(SYSCONFDIR)/s6/sv/wharfd/finish
xinetd_FILES    = xinetd.d/wharfd:$(SYSCONFDIR)/xinetd.d/wharfd
logrotate_FILES = logrotate/wharfd:$(SYSCONFDIR)/logrotate.d/wharfd
fail2ban_FILES  = fail2ban/filter.d/wharfd.conf:$(SYSCONFDIR)/fail2ban/filter.d/wharfd.conf \
                  fail2ban/jail.d/wharfd.conf:$(SYSCONFDIR)/fail2ban/jail.d/wharfd.conf
PARTS = systemd openrc openwrt runit s6 xinetd logrotate fail2ban

.PHONY: install uninstall install-base $(PARTS:%=install-%)

install: install-base $(WITH:%=install-%) ## Install under DESTDIR and PREFIX (/usr/local); WITH='systemd logrotate ...' adds their files, SFTP_SERVER=PATH links the subsystem
	@echo "installed $(SBINDIR)/wharfd$(if $(WITH), with $(WITH))"

install-base:
	test -f '$(WHARFD)' || $(MAKE) all
	install -d '$(DESTDIR)$(SBINDIR)'
	install -m 755 '$(WHARFD)' '$(DESTDIR)$(SBINDIR)/wharfd'
	for page in man/*.[1-8]; do \
	  section="$${page##*.}"; \
	  install -d "$(DESTDIR)$(MANDIR)/man$$section" && \
	  install -m 644 "$$page" "$(DESTDIR)$(MANDIR)/man$$section/" || exit 1; done
	find contrib -type f | while read -r file; do \
	  mode=644; test ! -x "$$file" || mode=755; \
	  install -D -m "$$mode" "$$file" "$(DESTDIR)$(DOCDIR)/$$file" || exit 1; done
	install -m 644 README.md CHANGELOG.md LICENSE-* '$(DESTDIR)$(DOCDIR)/'
	test -z '$(SFTP_SERVER)' || { \
	  install -d "$$(dirname '$(DESTDIR)$(SFTP_SERVER)')" && \
	  ln -sf '$(SBINDIR)/wharfd' '$(DESTDIR)$(SFTP_SERVER)'; }

# A file that is there already may have been changed by the administrator:
# then the new one is put beside it.
$(PARTS:%=install-%): install-%:
	@for entry in $($*_FILES); do \
	  mode=644; case "$$entry" in +*) mode=755; entry="$${entry#+}";; esac; \
	  from="contrib/$${entry%%:*}" to="$(DESTDIR)$${entry#*:}"; \
	  install -d "$$(dirname "$$to")" && \
	  sed -e 's|/usr/sbin/wharfd|$(SBINDIR)/wharfd|g' \
	    -e 's|/etc/wharfd|$(SYSCONFDIR)/wharfd|g' "$$from" >"$$to.new" && \
	  chmod "$$mode" "$$to.new" || exit 1; \
	  case "$$to" in "$(DESTDIR)$(SYSCONFDIR)"/*) keep=yes;; *) keep=;; esac; \
	  if [ -n "$$keep" ] && [ -e "$$to" ] && ! cmp -s "$$to" "$$to.new"; then \
	    echo "kept $$to; the new one is $$to.new"; \
	  else mv "$$to.new" "$$to"; fi; done

uninstall: #- Remove what install has put there, whatever WITH was
	rm -f '$(DESTDIR)$(SBINDIR)/wharfd'
	for page in man/*.[1-8]; do \
	  rm -f "$(DESTDIR)$(MANDIR)/man$${page##*.}/$$(basename "$$page")"; done
	rm -rf '$(DESTDIR)$(DOCDIR)'
	for entry in $(foreach part,$(PARTS),$($(part)_FILES)); do \
	  to="$(DESTDIR)$${entry#*:}"; rm -f "$$to" "$$to.new"; \
	  case "$$to" in */sv/wharfd/*) rmdir "$$(dirname "$$to")" 2>/dev/null || true;; esac; done
	test -z '$(SFTP_SERVER)' || test ! -L '$(DESTDIR)$(SFTP_SERVER)' || \
	  rm -f '$(DESTDIR)$(SFTP_SERVER)'

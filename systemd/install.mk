# What `make install` puts where, and `make uninstall` takes away again: one row a file, below DESTDIR.
#
#   mode:file:place   a file with that mode
#   link:text:place   a symbolic link
#   conf:file:place   a configuration file: one that is there stays as it is, and one that was changed isn't removed
#
# Files that name paths are filled in first (build/install). Included by the Makefile; after installing on a running
# system: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload.

BINDIR      ?= $(PREFIX)/bin
LIBDIR      ?= $(PREFIX)/lib
INCLUDEDIR  ?= $(PREFIX)/include
DATADIR     ?= $(PREFIX)/share/lensd
MANDIR      ?= $(PREFIX)/share/man
DOCDIR      ?= $(PREFIX)/share/doc/lensd
SYSCONFDIR  ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
# All below PREFIX: systemd looks into /usr/local as it does into /usr.
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
# `make install NOTIFY_RELOAD=yes` (or =) overrules what the systemd here is able to do.
NOTIFY_RELOAD ?= $(shell pkg-config --atleast-version=253 libsystemd 2>/dev/null && echo yes)

FILLED := $(BUILD)/install
UNITS  := lensd.service lensd.socket lensd@.service lensd@.socket

INSTALLED := \
    755:$(BUILD)/lensd:$(BINDIR)/lensd \
    755:$(BUILD)/lensctl:$(BINDIR)/lensctl \
    644:$(BUILD)/liblens.so:$(LIBDIR)/liblens.so.$(VERSION) \
    link:liblens.so.$(VERSION):$(LIBDIR)/liblens.so.0 \
    link:liblens.so.0:$(LIBDIR)/liblens.so \
    644:$(BUILD)/liblens.a:$(LIBDIR)/liblens.a \
    644:client/liblens/lens.h:$(INCLUDEDIR)/lens.h \
    644:$(FILLED)/liblens.pc:$(LIBDIR)/pkgconfig/liblens.pc \
    $(if $(CUDA),644:$(BUILD)/lens_cuda.so:$(PREFIX)/lib/lensd/lens_cuda.so) \
    conf:config/lensd.conf:$(SYSCONFDIR)/lensd/lensd.conf \
    644:config/lensd.conf:$(DATADIR)/lensd.conf \
    644:config/realtime.conf:$(DATADIR)/realtime.conf \
    644:config/offline.conf:$(DATADIR)/offline.conf \
    644:config/low-memory.conf:$(DATADIR)/low-memory.conf \
    644:config/prometheus.yml:$(DATADIR)/prometheus.yml \
    644:config/prometheus-alerts.yml:$(DATADIR)/prometheus-alerts.yml \
    644:config/grafana-dashboard.json:$(DATADIR)/grafana-dashboard.json \
    644:proto/lens.fbs:$(DATADIR)/lens.fbs \
    $(foreach page,$(MAN_PAGES),644:$(BUILD)/man/$(page):$(MANDIR)/man$(patsubst .%,%,$(suffix $(page)))/$(page)) \
    644:$(BUILD)/completion/lensctl.bash:$(PREFIX)/share/bash-completion/completions/lensctl \
    644:$(BUILD)/completion/lensctl.zsh:$(PREFIX)/share/zsh/site-functions/_lensctl \
    644:$(BUILD)/completion/lensctl.fish:$(PREFIX)/share/fish/vendor_completions.d/lensctl.fish \
    644:daemon/lensd.bash:$(PREFIX)/share/bash-completion/completions/lensd \
    644:daemon/lensd.zsh:$(PREFIX)/share/zsh/site-functions/_lensd \
    644:daemon/lensd.fish:$(PREFIX)/share/fish/vendor_completions.d/lensd.fish \
    644:$(BUILD)/man/catalog:$(PREFIX)/lib/systemd/catalog/lensd.catalog \
    644:systemd/README.md:$(DOCDIR)/systemd.md \
    $(foreach unit,$(UNITS),644:$(FILLED)/$(unit):$(UNITDIR)/$(unit)) \
    $(if $(NOTIFY_RELOAD),$(foreach unit,lensd lensd@,644:$(FILLED)/notify-reload.conf:$(UNITDIR)/$(unit).service.d/notify-reload.conf)) \
    644:systemd/sysusers.conf:$(SYSUSERSDIR)/lensd.conf \
    644:systemd/tmpfiles.conf:$(TMPFILESDIR)/lensd.conf

# Folders that are lensd's alone: uninstall removes them when they are empty.
OWN_FOLDERS := $(DATADIR) $(DOCDIR) $(PREFIX)/lib/lensd $(UNITDIR)/lensd.service.d $(UNITDIR)/lensd@.service.d \
               $(SYSCONFDIR)/lensd

fill = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@BINDIR@|$(BINDIR)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
           -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' -e 's|@DOCDIR@|$(DOCDIR)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' \
           -e 's|@DATADIR@|$(DATADIR)|g' -e 's|@VERSION@|$(VERSION)|g'

filled: ## files of an installation with its paths filled in, in build/install
	@mkdir -p $(FILLED)
	@for unit in $(UNITS); do \
		sed -e '/^@SERVICE@$$/{' -e 'r systemd/service.in' -e 'd' -e '}' "systemd/$$unit.in" | $(fill) > "$(FILLED)/$$unit" || exit 1; \
	done
	@$(fill) systemd/notify-reload.conf.in > $(FILLED)/notify-reload.conf
	@$(fill) client/liblens/liblens.pc.in > $(FILLED)/liblens.pc

row = $(subst :, ,$(1))
define install_row
$(call install_$(if $(filter link conf,$(word 1,$(1))),$(word 1,$(1)),file),$(word 1,$(1)),$(word 2,$(1)),$(DESTDIR)$(word 3,$(1)))

endef
install_file = $(Q)install -D -m $(1) '$(2)' '$(3)'
install_link = $(Q)ln -sfn '$(2)' '$(3)'
install_conf = $(Q)if [ -e '$(3)' ]; then echo 'kept as it is: $(3)'; else install -D -m 644 '$(2)' '$(3)'; fi
define uninstall_row
$(if $(filter conf,$(word 1,$(1))),$(call uninstall_conf,$(word 2,$(1)),$(DESTDIR)$(word 3,$(1))),$(Q)rm -f '$(DESTDIR)$(word 3,$(1))')

endef
uninstall_conf = $(Q)if cmp -s '$(1)' '$(2)'; then rm -f '$(2)'; elif [ -e '$(2)' ]; then echo 'changed, so it stays: $(2)'; fi

.PHONY: install uninstall filled
install: all man completions filled ## install below DESTDIR/PREFIX (default /usr/local); systemd/install.mk has the list
	$(foreach entry,$(INSTALLED),$(call install_row,$(call row,$(entry))))

uninstall: ## remove what install put there
	$(foreach entry,$(INSTALLED),$(call uninstall_row,$(call row,$(entry))))
	$(Q)for folder in $(OWN_FOLDERS); do rmdir "$(DESTDIR)$$folder" 2>/dev/null || true; done

DEB_PACKAGES := debhelper dpkg-dev
.PHONY: deb deb-deps
deb-deps: deps
	@PACKAGES="$(DEB_PACKAGES)" tests/install-packages.sh

deb: deb-deps ## Debian packages lensd, liblens0 and liblens-dev, in build/deb
	@CC="$(CC)" CXX="$(CXX)" CUDA="$(CUDA)" systemd/deb.sh $(BUILD) $(VERSION)

# Bulkhead. `make help` lists every target.
#
# Two commands do everything on a fresh Debian 12 with Go:
#   sudo make demo    sets up and runs the example application
#   sudo make test    sets up and runs the tests

SHELL := /bin/bash
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 1

GO        ?= go
MUSL      ?= musl-gcc
CFLAGS_C  := -std=gnu11 -Wall -Wextra -Werror -O2 -static -s -fstack-protector-strong \
             -idirafter /usr/include -idirafter /usr/include/$(shell uname -m)-linux-gnu
LIBEXEC   := bin/libexec
GOFILES   := go.mod go.sum $(shell find cmd sandbox policy broker profiles -name '*.go' -o -name '*.yaml' 2>/dev/null)
LDFLAGS   := -s -w
PREFIX    ?= /usr/local

.PHONY: help
help: ## list every target
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What the build needs, and beside it what the tests and the demo use.
PACKAGES_BUILD := gcc libc6-dev libseccomp-dev pkg-config musl-tools linux-libc-dev
PACKAGES_TEST  := $(shell cat test/packages.txt test/*/packages.txt 2>/dev/null)
PACKAGES_DEMO  := $(shell cat examples/*/packages.txt 2>/dev/null)

# install-packages LIST: says what it installs, skips what is there.
define install-packages
	@missing=""; for p in $(1); do \
		[ "$$(dpkg-query -W -f '$${db:Status-Abbrev}' $$p 2>/dev/null)" = "ii " ] || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages:$$missing"; \
		[ "$$(id -u)" = 0 ] || { echo "this needs root: sudo make $(MAKECMDGOALS)"; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 $$missing >/dev/null || exit 1; \
	else echo "all Debian packages are there: $(words $(1))"; fi
endef

.PHONY: setup setup-test setup-demo
setup: ## install the Debian packages that the build needs
	$(call install-packages,$(PACKAGES_BUILD))
setup-test: setup ## … and those that the tests use
	$(call install-packages,$(PACKAGES_TEST) $(PACKAGES_DEMO))
setup-demo: setup ## … and those that the demo uses
	$(call install-packages,$(PACKAGES_DEMO))

.PHONY: build
build: bin/sandbox $(LIBEXEC)/monitor $(LIBEXEC)/supervisor $(LIBEXEC)/init $(LIBEXEC)/sweeper ## build bin/sandbox and the programs it executes

bin/sandbox: $(GOFILES)
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/sandbox

# The two processes of the broker link no C at all.
$(LIBEXEC)/monitor $(LIBEXEC)/supervisor: $(GOFILES)
	@mkdir -p $(LIBEXEC)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/sandbox-$(@F)

$(LIBEXEC)/init: $(wildcard sandbox/init/*.c sandbox/init/*.h)
	@mkdir -p $(LIBEXEC)
	$(MUSL) $(CFLAGS_C) -o $@ $(filter %.c,$^)

$(LIBEXEC)/sweeper: broker/sweeper/sweeper.c
	@mkdir -p $(LIBEXEC)
	$(MUSL) $(CFLAGS_C) -o $@ $<

.PHONY: install
install: build ## install below PREFIX (/usr/local)
	install -D -m 0755 bin/sandbox $(DESTDIR)$(PREFIX)/bin/sandbox
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/libexec/sandbox $(LIBEXEC)/monitor $(LIBEXEC)/supervisor $(LIBEXEC)/init $(LIBEXEC)/sweeper

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .cache

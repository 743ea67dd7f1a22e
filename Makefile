# Bulkhead. `make help` lists every target.
#
# Two commands do everything on a fresh Debian 12 with Go:
#   sudo make demo    sets up and runs the example application
#   sudo make test    sets up and runs the tests

SHELL := /bin/bash
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 1
# sudo has a PATH of its own, in which Go's usual place is missing; and a
# checkout of somebody else's is none that git would tell root about.
export PATH := $(PATH):/usr/local/go/bin:/usr/lib/go/bin
export GOFLAGS := $(GOFLAGS) -buildvcs=false

GO        ?= go
MUSL      ?= musl-gcc
CFLAGS_C  := -std=gnu11 -Wall -Wextra -Werror -O2 -static -s -fstack-protector-strong \
             -idirafter /usr/include -idirafter /usr/include/$(shell uname -m)-linux-gnu
LIBEXEC   := bin/libexec
GOFILES   := go.mod go.sum $(shell find cmd sandbox policy broker profiles -name '*.go' -o -name '*.c' -o -name '*.h' -o -name '*.yaml' -o -name '*.bpf' -o -name '*.html' -o -name '*.css' 2>/dev/null)
LDFLAGS   := -s -w
STATIC    := CC=$(MUSL) CGO_CFLAGS='-O2 -idirafter /usr/include -idirafter /usr/include/$(shell uname -m)-linux-gnu'
PREFIX    ?= /usr/local

.PHONY: help
help: ## list every target
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What the build needs, and beside it what the tests and the demo use.
PACKAGES_BUILD := gcc libc6-dev libseccomp-dev pkg-config musl-tools linux-libc-dev
PACKAGES_TEST  := $(shell sed 's/\#.*//' test/packages.txt test/*/packages.txt 2>/dev/null)
PACKAGES_DEMO  := $(shell sed 's/\#.*//' examples/*/packages.txt 2>/dev/null)

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

.PHONY: build libexec
build: bin/sandbox libexec ## build bin/sandbox and the programs it executes
libexec: $(LIBEXEC)/builder $(LIBEXEC)/monitor $(LIBEXEC)/supervisor $(LIBEXEC)/init $(LIBEXEC)/stub $(LIBEXEC)/sweeper $(LIBEXEC)/keeper

bin/sandbox: $(GOFILES)
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/sandbox

# libcontainer starts the builder twice for each compartment: statically, because
# the dynamic linker and glibc would take half of such a start. Its part in C
# comes with the module.
$(LIBEXEC)/builder: $(GOFILES)
	@mkdir -p $(LIBEXEC)
	$(STATIC) $(GO) build -trimpath -tags osusergo,netgo -ldflags '$(LDFLAGS) -linkmode external -extldflags "-static -Wl,--build-id=none"' -o $@ ./cmd/sandbox-builder

# The two processes of the broker link no C at all.
$(LIBEXEC)/monitor $(LIBEXEC)/supervisor: $(GOFILES)
	@mkdir -p $(LIBEXEC)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/sandbox-$(@F)

$(LIBEXEC)/init: $(wildcard sandbox/init/*.c sandbox/init/*.h)
	@mkdir -p $(LIBEXEC)
	$(MUSL) $(CFLAGS_C) -o $@ $(filter %.c,$^)

$(LIBEXEC)/stub: sandbox/stub/stub.c
	@mkdir -p $(LIBEXEC)
	$(MUSL) $(CFLAGS_C) -o $@ $<

$(LIBEXEC)/sweeper: broker/sweeper/sweeper.c
	@mkdir -p $(LIBEXEC)
	$(MUSL) $(CFLAGS_C) -o $@ $<

# The keeper names the calls that it ends a monitor for.
$(LIBEXEC)/keeper: broker/keeper/keeper.c sandbox/init/again.h
	@mkdir -p $(LIBEXEC) build
	echo '#include <asm/unistd.h>' | $(MUSL) $(CFLAGS_C) -E -dM - | sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$$/[\2] = "\1",/p' > build/names.h
	$(MUSL) $(CFLAGS_C) -Ibuild -Isandbox/init -o $@ $<

.PHONY: install
install: build ## install below PREFIX (/usr/local)
	install -D -m 0755 bin/sandbox $(DESTDIR)$(PREFIX)/bin/sandbox
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/libexec/sandbox $(LIBEXEC)/builder $(LIBEXEC)/monitor $(LIBEXEC)/supervisor $(LIBEXEC)/init $(LIBEXEC)/stub $(LIBEXEC)/sweeper $(LIBEXEC)/keeper

.PHONY: man
man: ## write the manual pages and shell completions to build/
	@mkdir -p build/completion
	$(GO) run -tags man ./cmd/sandbox man build/man
	for shell in bash zsh fish; do $(GO) run ./cmd/sandbox completion $$shell > build/completion/sandbox.$$shell; done

.PHONY: release release-check sign vulncheck
release: ## build the tarball, the Debian package, their bill of materials and sums, into release/out
	release/build
release-check: ## build all of that twice, elsewhere and with nothing remembered, and compare the bytes (some four minutes)
	release/check
sign: ## sign the sums with the release key: make sign KEY=FILE (docs/release.md)
	release/sign "$(KEY)"
vulncheck: ## look for known vulnerabilities in what is linked (needs the Go vulnerability database, GOVULNDB)
	release/vulncheck

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build .cache release/out

# The tests run as root on this machine, because compartments are made by root,
# and again in virtual machines with pure cgroup v2, as root and as an ordinary
# user. -p 1: packages that start applications measure and clean up after
# themselves, and must not see each other's.
#
# All lanes run, whatever fails in one, and end within TEST_WITHIN; the last
# lines say what ran in each, what did not and why.

.PHONY: test test-here test-race test-vm test-vm-all
TEST_WITHIN ?= 37m
test: setup setup-test build ## set up everything and run all tests
	@[ "$$(id -u)" = 0 ] || { echo "the tests make compartments: sudo make test"; exit 1; }
	$(GO) run ./test/lanes -make "$(MAKE)" -within $(TEST_WITHIN) vet test-race test-vm test-here

# A run whose tests did not even start is none of report's, so each status counts.
test-here: build ## run the tests on this machine (root)
	set -o pipefail; { status=0; $(GO) test -json -cover -p 1 -count=1 -timeout 30m $(COVER_PACKAGES) || status=$$?; \
	  $(GO) test -json -p 1 -count=1 -timeout 30m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(COVER_PACKAGES))") || status=$$?; \
	  exit $$status; } | $(GO) run ./test/report -raced "$(RACE_PACKAGES)"

# Those whose code runs in the tests' own process; the others look at programs
# that they start, of which the coverage of the tests says nothing. With -race
# run those of the broker that have goroutines, and with -cover all of them.
RACE_PACKAGES  := ./broker/supervisor ./broker/control ./broker/client/... ./broker/wire ./broker/monitor ./policy/plan ./sandbox/cgroup ./sandbox/worker \
                  ./broker/handover ./policy/calls ./policy/learn ./sandbox/observe
COVER_PACKAGES := ./policy ./broker/inspect ./cmd/sandbox ./sandbox
test-race: build ## run the tests of the broker's own code with the race detector
	set -o pipefail; $(GO) test -json -race -cover -count=1 $(RACE_PACKAGES) | $(GO) run ./test/report

.PHONY: stress
stress: build ## 10,000 restarts and 1,000 random faults (root; some eight minutes)
	$(GO) test -count=1 -timeout 40m -v -run TestRestartsLeaveNothing ./test/life -restarts 10000
	$(GO) test -count=1 -timeout 60m -v -run TestRandomFaults ./test/e2e -faults 1000

.PHONY: vet
vet: build ## gofmt and go vet
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.cache/*')); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...

VM_TESTS    := .cache/vm/tests
VM_APPLICATION_TESTS := .cache/vm/applications
# Those that need nothing but the kernel, and busybox: what they test differs with it.
VM_PACKAGES := sandbox sandbox/address sandbox/cgroup sandbox/compartment sandbox/worker broker/wire broker/monitor test/guest
# Those that need more there; test/vm/applications says what.
VM_APPLICATIONS := test/e2e test/probes test/files test/life test/ordinary
.PHONY: vm-tests
vm-tests: build
	rm -rf $(VM_TESTS) $(VM_APPLICATION_TESTS)
	set -e; build() { mkdir -p "$$1/$$2"; $(GO) test -c -o "$$1/$$2/$$(basename "$$2").test" "./$$2"; }; \
	for package in $(VM_PACKAGES); do build $(VM_TESTS) $$package; done; \
	for package in $(VM_APPLICATIONS); do build $(VM_APPLICATION_TESTS) $$package; done
# in-machines FLAGS OF BOTH, OF APPLICATIONS ALONE
define in-machines
	set -o pipefail; { status=0; test/vm/suite $(1) --tests $(VM_TESTS) --bin bin -- --tree sandbox/init=/src/sandbox/init || status=$$?; \
	  test/vm/applications $(1) $(2) --tests $(VM_APPLICATION_TESTS) --bin bin || status=$$?; \
	  exit $$status; } | $(GO) run ./test/report
endef
# It takes some eleven minutes; a busy host, or a network that kernels come slowly over,
# has a few more before what is left is cut off.
VM_TIME ?= 19 * 60
test-vm: vm-tests ## run the tests in virtual machines with cgroup v2 (some eleven minutes)
	export VM_UNTIL=$$(($$(date +%s) + $(VM_TIME))); $(call in-machines,--kernel 6.1)
test-vm-all: vm-tests ## the same on kernels 6.1 and 6.12, with the tests that take long there (hours)
	$(call in-machines,--kernel 6.1 --kernel 6.12,--all)

.PHONY: demo
demo: setup setup-demo build ## set up everything and run the example application
	@[ "$$(id -u)" = 0 ] || { echo "the demo listens, and makes compartments: sudo make demo"; exit 1; }
	/usr/bin/python3 examples/thumbnailer/demo

.PHONY: bench bench-quick bench-check bench-record
bench: build ## limits, peers and Bulkhead side by side (root; installs the peers; some eight minutes)
	@mkdir -p test/bench/out
	$(GO) run ./test/bench -install -json test/bench/out/run.json -html test/bench/out/run.html
bench-quick: build ## the same with fewer runs, in under two minutes
	$(GO) run ./test/bench -quick
bench-check: build ## fails when one of Bulkhead's ratios fell behind the recorded run
	$(GO) run ./test/bench -check test/bench/record.json
bench-record: build ## bench, kept: test/bench/record.json and the tables of docs/performance.md (on a quiet machine)
	@mkdir -p test/bench/out
	$(GO) run ./test/bench -install -json test/bench/out/run.json -html test/bench/out/run.html -page docs/performance.md
	cp test/bench/out/run.json test/bench/record.json

.PHONY: profile
profile: build ## where the processor time of a cold start goes (root; package linux-perf)
	@mkdir -p build/profile/libexec
	$(GO) build -trimpath -o build/profile/sandbox ./cmd/sandbox
	$(STATIC) $(GO) build -trimpath -tags osusergo,netgo -ldflags '-linkmode external -extldflags "-static -Wl,--build-id=none"' -o build/profile/libexec/builder ./cmd/sandbox-builder
	for p in monitor supervisor; do CGO_ENABLED=0 $(GO) build -trimpath -o build/profile/libexec/$$p ./cmd/sandbox-$$p || exit; done
	for p in $(LIBEXEC)/*; do [ -e build/profile/libexec/$${p##*/} ] || cp $$p build/profile/libexec/; done
	$(GO) run ./test/bench/profile

.PHONY: tcb
tcb: ## print the size of the code that runs with privilege
	@$(GO) run ./test/tcb

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## fuzz every decoder for FUZZTIME each (30s)
	test/fuzz/all $(FUZZTIME)

# The tour of the project: run "make".

# Everything that is built or fetched goes here (but Go's own caches).
BUILD_DIR ?= .build
override BUILD_DIR := $(abspath $(BUILD_DIR))
BIN := $(BUILD_DIR)/bin

# Where "make install" puts things.
PREFIX ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
# Suites side by side would spoil each other's timing; go build uses all cores anyway.
.NOTPARALLEL:

# sudo's PATH often lacks the place of a Go that was unpacked by hand.
GO := $(or $(shell command -v go),/usr/local/go/bin/go)

# The version is git's; a tree without git, or before its first commit, has none.
GIT := git -c safe.directory='$(CURDIR)'
VERSION := $(or $(shell $(GIT) describe --tags --always --dirty 2>/dev/null),unknown)
REVISION := $(or $(shell $(GIT) rev-parse --verify HEAD 2>/dev/null),unknown)

# What is built belongs to whoever builds it; only the demonstration needs root.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo)

SHIM := $(BIN)/containerd-shim-runsc-v1

##@ Use it

help: ## this tour
	@awk 'BEGIN { \
			print "containerd-shim-runsc-v1 runs the containers and pods of containerd in gVisor."; \
			print "Start with README.md, or see it at work with: make demo" } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { split($$0, part, /:.*## /); printf "  make %-14s %s\n", part[1], part[2] }' \
		$(MAKEFILE_LIST)
	@echo
	@echo 'Folders: cmd (main), shim (the process and its wire), proc (containers and'
	@echo '  processes), runsc (driving gVisor), utils (leaves), test (suites and tools).'
	@echo 'Variables: BUILD_DIR (where it is built: $(BUILD_DIR)), PREFIX, DESTDIR.'

build: $(SHIM) ## build the shim: bin/containerd-shim-runsc-v1 in BUILD_DIR

# Go knows best whether there is something to do.
$(SHIM): FORCE
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
		-ldflags='-s -w -X containerd-shim-runsc/shim.Version=$(VERSION) -X containerd-shim-runsc/shim.Revision=$(REVISION)' \
		-o $@ ./cmd/containerd-shim-runsc-v1

demo: demo-files ## a container in gVisor, with a containerd and an image of its own (root)
	@$(AS_ROOT) test/demo/demo.sh run $(BIN) $(BUILD_DIR)/busybox.tar

demo-shell: demo-files ## the same containerd and a shell to try ctr in (root)
	@$(AS_ROOT) test/demo/demo.sh shell $(BIN) $(BUILD_DIR)/busybox.tar

demo-files: $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BUILD_DIR)/busybox.tar

# An existing configuration is the administrator's, so it is never written over.
CONFIG := $(DESTDIR)/etc/containerd/runsc.toml
install: build ## install the shim and its configuration (PREFIX, DESTDIR)
	install -D -m 0755 $(SHIM) $(DESTDIR)$(PREFIX)/bin/containerd-shim-runsc-v1
	@if [[ -e $(CONFIG) ]]; then \
		echo "$(CONFIG) is there already and was left as it is"; \
	else \
		echo install -D -m 0644 contrib/runsc.toml $(CONFIG); \
		install -D -m 0644 contrib/runsc.toml $(CONFIG); \
	fi
	@cat contrib/next-steps.txt

uninstall: ## remove what install put there (a changed configuration stays)
	rm -f $(DESTDIR)$(PREFIX)/bin/containerd-shim-runsc-v1
	@if [[ ! -e $(CONFIG) ]]; then :; \
	elif cmp -s contrib/runsc.toml $(CONFIG); then \
		echo rm -f $(CONFIG); \
		rm -f $(CONFIG); \
	else \
		echo "$(CONFIG) was changed and was left as it is"; \
	fi

##@ Test it

# The race detector needs cgo, whatever the environment says.
GO_TEST := SHIM_TEST_BIN=$(BIN) CGO_ENABLED=1 $(GO) test -race

test: test-unit test-contract test-e2e ## all tests

test-unit: deps ## each package on its own, in seconds
	$(GO_TEST) ./cmd/... ./shim/... ./proc/... ./runsc/... ./utils/... ./test/image/... ./test/bench/... ./test/harness ./test/vm

# The suites run twice: with sandboxes that are asked over their control sockets, and
# with runsc's commands alone. These tests choose the way themselves.
OWN_WAY := '^Test(X|Control)_'

test-contract: deps $(SHIM) $(BIN)/runsc $(BIN)/busybox-static $(BIN)/busybox ## the contract, on a scripted runsc and on the real one (root)
	$(GO_TEST) -count=1 -timeout 15m ./test/contract/...
	SHIM_TEST_CONTROL=cli $(GO_TEST) -count=1 -timeout 15m -skip $(OWN_WAY) ./test/contract/...

test-e2e: deps $(SHIM) $(BIN)/runsc $(BIN)/runsc-debian $(BIN)/containerd $(BIN)/containerd-1.7/containerd $(BIN)/containerd-1.6/containerd $(BIN)/containerd-1.6/ctr $(BIN)/busybox-static $(BIN)/busybox ## with containerd and gVisor, end to end (root)
	$(GO_TEST) -count=1 -timeout 15m ./test/e2e/...
	SHIM_TEST_CONTROL=cli $(GO_TEST) -count=1 -timeout 15m ./test/e2e/...

# Debian's runsc of 2022 has no control socket to reach. Its sandboxes have addresses that
# are the machine's, by their ids, so one test comes after the other; and its own network
# stack does not start on newer kernels.
OLD := $(BUILD_DIR)/old

$(OLD)/runsc: $(BIN)/runsc-debian $(SHIM)
	mkdir -p $(OLD)
	ln -sfn $(BIN)/* $(OLD)
	rm -f $@
	printf '#!/bin/sh\nexec $(BIN)/runsc-debian --network=none "$$@"\n' >$@
	chmod +x $@

OLD_TEST := SHIM_TEST_RUNSC=debian SHIM_TEST_BIN=$(OLD) CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 15m

test-debian: deps $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BIN)/containerd-1.7/containerd $(BIN)/containerd-1.6/containerd $(BIN)/containerd-1.6/ctr $(BIN)/busybox-static $(BIN)/busybox $(OLD)/runsc ## contract and end to end with Debian's runsc (root)
	$(OLD_TEST) -parallel 1 -run '/runsc$$' -skip $(OWN_WAY) ./test/contract/...
	$(OLD_TEST) ./test/e2e/...

# Kubernetes' own suite for what runs its pods: with runc, which shows what the machine lacks,
# with the shim's defaults and with the options that test/critest/expected.toml names. CRI_RUN
# has a choice of these runs. CRI_FOCUS has a pattern of the tests to run.
CRI_RUN ?= runc,defaults,options
CRI_FOCUS ?=

test-cri: deps $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BIN)/runc $(BIN)/busybox $(BIN)/cni/bridge $(BIN)/critest ## critest of Kubernetes, on a private node (root)
	CRI_RUN='$(CRI_RUN)' CRI_FOCUS='$(CRI_FOCUS)' $(GO_TEST) -count=1 -timeout 50m -v ./test/node ./test/critest

# Of the environment, test/pods takes PODS_CHURN, how long containers come and go at random
# (5m), and PODS_SEED, the seed of that, which each run prints.
test-pods: deps $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BIN)/runc $(BIN)/busybox $(BIN)/cni/bridge ## pods on a private node: what Kubernetes does with them, many at once, and for 5 minutes (root)
	$(GO_TEST) -count=1 -timeout 30m -parallel 4 -v ./test/pods/...
	SHIM_TEST_CONTROL=cli PODS_CHURN=15s $(GO_TEST) -count=1 -timeout 15m -parallel 4 -v ./test/pods

# A sixth of all that can be broken in all situations: FAULTS_SEED (0 to 5) says which, and
# FAULTS=all is all of it, in an hour or two.
FAULTS ?=
FAULTS_SEED ?= 0

test-faults: deps $(SHIM) $(BIN)/runsc $(BIN)/runsc-debian $(BIN)/containerd $(BIN)/busybox-static $(BIN)/busybox ## break what can break, in each state and in the middle of each call (root)
	FAULTS=$(FAULTS) FAULTS_SEED=$(FAULTS_SEED) $(GO_TEST) -count=1 -timeout $(if $(FAULTS),180m,40m) -parallel 10 -v ./test/faults

# What fails is printed with its seed, which is MODEL_SEED; without one, each run has another.
# The race detector would take most of the time; the shim is a program of its own.
MODEL_STEPS_FAKE ?= 100000
MODEL_STEPS_REAL ?= 2000

test-model: deps $(SHIM) $(BIN)/runsc $(BIN)/busybox-static $(BIN)/busybox ## random programs of calls against a model of the contract (root)
	SHIM_TEST_BIN=$(BIN) MODEL_STEPS_FAKE=$(MODEL_STEPS_FAKE) MODEL_STEPS_REAL=$(MODEL_STEPS_REAL) $(GO) test -count=1 -timeout 40m -v ./test/model/...

# The shim is a program of its own, so the race detector sees nothing of it elsewhere. With it,
# a shim ends at the first race, and what it has found is printed.
RACE := $(BUILD_DIR)/race

$(RACE)/containerd-shim-runsc-v1: FORCE
	mkdir -p $(RACE)
	ln -sfn $(BIN)/* $(RACE)
	rm -f $@ $(RACE)/found.*
	CGO_ENABLED=1 $(GO) build -race -buildvcs=false -o $@ ./cmd/containerd-shim-runsc-v1

RACE_TEST := GORACE='halt_on_error=1 log_path=$(RACE)/found' SHIM_TEST_BIN=$(RACE)

test-race: deps $(SHIM) $(BIN)/runsc $(BIN)/busybox-static $(BIN)/busybox $(RACE)/containerd-shim-runsc-v1 ## the contract and the model with the race detector in the shim (root)
	$(RACE_TEST) CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 30m -run '^Test(P|T|E|X|Control)' -skip '^TestPortForward' ./test/contract/... || { cat $(RACE)/found.* || true; exit 1; }
	$(RACE_TEST) MODEL_STEPS_FAKE=10000 MODEL_STEPS_REAL=500 $(GO) test -count=1 -timeout 30m -v ./test/model/... || { cat $(RACE)/found.* || true; exit 1; }

# SOAK is how long, SOAK_ERA how long containerd lives (9s), SOAK_SEED the seed, which each run
# prints.
SOAK ?= 10m

soak: deps $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BIN)/runc $(BIN)/busybox $(BIN)/cni/bridge ## pods, execs and logs at full speed while containerd restarts, for SOAK (10m) (root)
	SOAK=$(SOAK) $(GO_TEST) -count=1 -timeout 0 -v ./test/soak

# Where there is cgroup v2 alone, and systemd: a virtual machine, which is emulated. VM_FLAGS has
# flags for one who looks for a fault, as "-machine cgroupfs -suites pods -run 'TestOOM|TestExec'".
VM := $(BUILD_DIR)/vm
VM_FLAGS ?=

test-vm: $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BIN)/containerd-1.7/containerd $(BIN)/containerd-1.6/containerd $(BIN)/containerd-1.6/ctr $(BIN)/runc $(BIN)/busybox-static $(BIN)/busybox $(BIN)/cni/bridge $(BIN)/critest $(VM)/qemu $(VM)/kernel $(VM)/system ## a choice of all suites, with cgroup v2 and systemd, in a virtual machine
	$(GO) run ./test/vm -bin $(BIN) -work $(VM) $(VM_FLAGS)

$(VM)/qemu $(VM)/kernel $(VM)/system: test/vm/fetch.sh
	@test/vm/fetch.sh $(@F) $@

bench: deps $(SHIM) $(BIN)/runsc $(BIN)/containerd $(BIN)/runc $(BIN)/busybox-static ## measure the shim, with runc beside it: a table, bench/bench.json and bench.svg (root)
	SHIM_TEST_BIN=$(BIN) BENCH_OUT=$(BUILD_DIR)/bench $(GO) run ./test/bench

# FUZZTIME is how long for each target, 10s at least, as a hang shows after some seconds.
fuzz: deps ## look for inputs that break something: each target for FUZZTIME (10s)
	test/tools/fuzz.sh

deps:
	@test/tools/install-deps.sh

##@ Work on it

lint: $(BIN)/golangci-lint $(BIN)/gazelle ## check style, the import table and the BUILD files
	$(BIN)/golangci-lint run ./...
	BIN=$(BIN) test/tools/bazel.sh check

bazel: $(BIN)/gazelle ## write the BUILD files and MODULE.bazel's repositories anew
	BIN=$(BIN) test/tools/bazel.sh update

tools: $(BIN)/runsc $(BIN)/runsc-debian $(BIN)/containerd $(BIN)/containerd-1.7/containerd $(BIN)/containerd-1.6/containerd $(BIN)/containerd-1.6/ctr $(BIN)/runc $(BIN)/busybox-static $(BIN)/busybox $(BIN)/cni/bridge $(BIN)/critest $(BIN)/golangci-lint $(BIN)/gazelle ## build and fetch all that the tests and lint need

# Only what is ours: BUILD_DIR may be a folder that holds other things too.
clean: ## remove all that was built and fetched
	rm -rf $(BIN) $(OLD) $(RACE) $(VM) $(BUILD_DIR)/deb $(BUILD_DIR)/bench $(BUILD_DIR)/busybox.tar
	@rmdir $(BUILD_DIR) 2>/dev/null || true

# The tools are Go modules of their own under test/tools: their requirements do not
# mix with the shim's, and a tool is built again only when its go.mod changes.

# $(call build-tools,MODULE,DIRECTORY,LDFLAGS): all tools of a module. They are static:
# runsc needs that in its chroot. touch, because go leaves an equal binary alone.
define build-tools
	@mkdir -p $(2)
	@cd test/tools/$(1) && CGO_ENABLED=0 $(GO) build -buildvcs=false -ldflags='-s -w $(3)' -o $(2)/ tool
	@touch $@
endef

MODULE = $(shell cd test/tools/$(1) && $(GO) list -m -f '{{.Version}}' $(2))

$(BIN)/runsc: test/tools/runsc/go.mod
	@echo 'building runsc (2-3 minutes the first time) ...'
	$(call build-tools,runsc,$(BIN),-X gvisor.dev/gvisor/runsc/version.version=$(call MODULE,runsc,gvisor.dev/gvisor))

# One module, three binaries: the others come with the first.
$(BIN)/containerd: test/tools/containerd/go.mod
	@echo 'building containerd, ctr and containerd-shim-runc-v2 (2-3 minutes the first time) ...'
	$(call build-tools,containerd,$(BIN))

$(BIN)/containerd-1.7/containerd: test/tools/containerd17/go.mod
	@echo 'building containerd 1.7 (2-3 minutes the first time) ...'
	$(call build-tools,containerd17,$(BIN)/containerd-1.7)

# critest is a test in the module of cri-tools; it is built there, with that module's own
# requirements. ginkgo, which runs its tests side by side, is one of them.
$(BIN)/critest: test/tools/critools/go.mod
	@echo 'building critest and ginkgo (1-2 minutes the first time) ...'
	@mkdir -p $(BIN)
	@cd test/tools/critools && $(GO) mod download sigs.k8s.io/cri-tools && \
		cd "$$($(GO) list -m -f '{{.Dir}}' sigs.k8s.io/cri-tools)" && \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/ginkgo github.com/onsi/ginkgo/v2/ginkgo && \
		CGO_ENABLED=0 $(GO) test -c -trimpath -ldflags='-s -w' -o $@ ./cmd/critest
	@touch $@

$(BIN)/golangci-lint: test/tools/lint/go.mod
	@echo 'building golangci-lint (1-2 minutes the first time) ...'
	$(call build-tools,lint,$(BIN))

$(BIN)/gazelle: test/tools/gazelle/go.mod
	@echo 'building gazelle ...'
	$(call build-tools,gazelle,$(BIN))

# Programs of Debian's, taken out of their packages; nothing is installed.
# $(call fetch-deb,PACKAGE,PATH)
fetch-deb = @test/tools/fetch-deb.sh $(1) $(2) $@ $(BUILD_DIR)/deb

$(BIN)/busybox-static:
	$(call fetch-deb,busybox-static,bin/busybox)

$(BIN)/busybox:
	$(call fetch-deb,busybox,bin/busybox)

$(BIN)/runc:
	$(call fetch-deb,runc,usr/sbin/runc)

# Debian 12 has containerd 1.6.
$(BIN)/containerd-1.6/containerd:
	$(call fetch-deb,containerd,usr/bin/containerd)

$(BIN)/containerd-1.6/ctr:
	$(call fetch-deb,containerd,usr/bin/ctr)

$(BIN)/runsc-debian:
	$(call fetch-deb,runsc,usr/bin/runsc)

# The plugins of the pods' networks: one package, the others come with the first.
$(BIN)/cni/bridge:
	$(call fetch-deb,containernetworking-plugins,usr/lib/cni/bridge)
	@cd $(BUILD_DIR)/deb/containernetworking-plugins/usr/lib/cni && cp host-local loopback portmap $(BIN)/cni/

$(BUILD_DIR)/busybox.tar: $(BIN)/busybox-static $(wildcard test/image/*.go test/image/cmd/mkimage/*.go)
	$(GO) run ./test/image/cmd/mkimage -busybox $< -o $@

FORCE:

.PHONY: help build demo demo-shell demo-files install uninstall test test-unit \
	test-contract test-e2e test-cri test-pods test-faults test-model test-race soak test-vm bench fuzz deps lint bazel tools clean FORCE

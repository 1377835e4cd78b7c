# make help lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kinstall
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(CACHE)/tools/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint

LAB_INVENTORY ?= inventories/lab.hcl

# Brings a Go command on a machine that has none.
GO := . .ci/go-toolchain && go

.PHONY: help
help: ## this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: build
build: ## bin/kinstall and bin/lab
	. .ci/go-toolchain && CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/kinstall ./cmd/lab

.PHONY: lab
lab: build ## four real machines with a real cluster, from nothing
	. .ci/go-toolchain && bin/lab components
	bin/lab up $(LAB_INVENTORY)
	bin/lab exec -- bin/kinstall apply -yes $(LAB_INVENTORY)
	@bin/lab exec -- sh -c 'bin/kinstall kubeconfig -out "$$KINSTALL_VAR_lab/admin.conf" $(LAB_INVENTORY)'
	@echo; bin/lab kubectl get nodes -o wide
	@echo; echo 'Go on:'; \
	echo '  bin/lab kubectl get pods -A                                the cluster'; \
	echo '  bin/lab exec -- bin/kinstall plan $(LAB_INVENTORY)       nothing to change'; \
	echo '  bin/lab ssh huashan                                        a machine'; \
	echo '  bin/lab stop shaolin                                       a power cut'; \
	echo '  make lab-down                                              remove it all'

.PHONY: lab-down
lab-down: build ## remove the lab's machines (the caches stay)
	bin/lab down

.PHONY: test
test: build ## unit, integration and end-to-end tests
	. .ci/go-toolchain && go test -timeout 15m $$(go list ./... | grep -v '/e2e$$')
	@# On their own: they say how long things take.
	$(GO) test -timeout 80m -count 1 -v ./e2e

.PHONY: test-networks
test-networks: build ## every pod network on machines of its own (35 minutes)
	KINSTALL_NETWORKS=all go test -timeout 120m -count 1 -v -run '^(TestNetwork|TestDocker(Release|OpenVSwitch|Bird|Flannel))' ./e2e

.PHONY: test-changes
test-changes: build ## changes that go well, and wrong, on a living cluster; members, hosts, versions and certificates that come and go (52 minutes; once 10 more to build the version to upgrade from)
	. .ci/go-toolchain && go test -count 1 -timeout 20m -run '^(TestSimul|TestPromises|TestUpgradeInterrupted)' ./plan ./plan/rollout -rapid.checks=500 -rapid.seed=$$(date +%s)
	KINSTALL_CHANGES=1 go test -timeout 90m -count 1 -v -run '^Test(Changes|Members|Hosts|Upgrade|Joining)$$' ./e2e

.PHONY: test-availability
test-availability: build ## load balancers follow each other, and masters lose their power, while clients ask (20 minutes)
	KINSTALL_AVAILABILITY=1 go test -timeout 60m -count 1 -v -run '^TestAvailability' ./e2e

.PHONY: test-short
test-short: ## the tests that need no lab
	$(GO) test -short ./...

FUZZTIME ?= 60s
# Go spends up to a minute on making each new input smaller, and counts no
# execution meanwhile: a target that finds many would do nothing else.
FUZZMINIMIZE ?= 10x

.PHONY: test-fuzz
test-fuzz: ## each fuzz target for a minute (FUZZTIME)
	@. .ci/go-toolchain && for dir in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$dir/*_test.go); do \
			echo "$$dir $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime $(FUZZMINIMIZE) ./$$dir || exit 1; \
		done; \
	done

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint, strict and short
	. .ci/go-toolchain && $(GOLANGCI) run ./...

$(GOLANGCI):
	. .ci/go-toolchain && GOBIN=$(dir $@) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: bench
bench: build ## seconds to a cluster beside kubeadm's, a rolling change, one worker more, and what each network carries (28 minutes)
	. .ci/go-toolchain && KINSTALL_BENCH=1 go test -timeout 90m -count 1 -v -run '^TestBenchmark' ./e2e

.PHONY: clean
clean: ## remove bin/
	rm -rf bin

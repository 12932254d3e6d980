# Pavise: what there is to make. `make help` lists it.
#
# Needs Go and make; `envoy` needs Python with pip, the race detector gcc.
# What is fetched or built once is kept outside the tree, in CACHE, under the
# name of its version; internal/envoy and deploy/envoy/fetch know the same rule.

CACHE := $(or $(PAVISE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pavise)

GOLANGCI_VERSION := v2.15.0
GOFUMPT_VERSION  := v0.12.0
GOLANGCI := $(CACHE)/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
GOFUMPT  := $(CACHE)/gofumpt-$(GOFUMPT_VERSION)/gofumpt

# Every module of the repository: the root, and those for tools only tests need.
MODULES  = $(shell find . -name go.mod -not -path '*/testdata/*' -not -path './.*/*' -exec dirname {} \; | sort)
# What drives an Envoy, and so is tested with each that Pavise supports. A test/
# that is a module of its own is not of the root's.
ON_ENVOY = $(patsubst %,./%/...,$(filter-out $(patsubst %/go.mod,%,$(wildcard test/go.mod)),$(wildcard xds test internal/envoy proxy/extauthz)))
# Each version once, the default one first.
ENVOYS   = $(shell awk '!/^\#/ && NF && !seen[$$1]++ { print $$1 }' deploy/envoy/versions.txt)
VERSION  = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Passed on to what `run` and the benchmarks start, and to `go test`.
ARGS ?=
TESTFLAGS ?=
# For each fuzz target.
FUZZTIME ?= 10s

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Whoever names an Envoy in PAVISE_ENVOY needs no other.
.PHONY: envoy
envoy: $(if $(PAVISE_ENVOY),,need-python3) ## fetch the pinned Envoy into the cache, by checksum
	@$(if $(PAVISE_ENVOY),echo "using $(PAVISE_ENVOY)",deploy/envoy/fetch)

.PHONY: envoy-all
envoy-all: need-python3 ## fetch every Envoy that is tested
	@deploy/envoy/fetch --all

.PHONY: build
build: need-go need-gcc ## build bin/pavise, and beside it the module that Envoy loads
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/pavise ./cmd/pavise
	CGO_ENABLED=1 go build -trimpath -buildmode=c-shared -ldflags '-s -w' -o bin/libpavise.so ./proxy/module && rm -f bin/libpavise.h

.PHONY: run
run: envoy build ## run the quickstart on this machine; ARGS=--once to check it and stop
	bin/pavise demo $(ARGS)

.PHONY: test
test: envoy kubernetes need-go need-gcc ## vet and test everything with the race detector
	@set -e; for module in $(MODULES); do \
	  echo "testing $$module"; \
	  (cd $$module && go vet ./... && PAVISE_NO_NODE=1 CGO_ENABLED=1 go test -race $(TESTFLAGS) ./...); \
	done
	@# It computes for itself alone, and ten times as long under the race detector, where it is skipped.
	go test -run TestMeasured $(TESTFLAGS) ./admin/anomaly

# Etcd and an API server, which some tests of `make test` ask; they take minutes to build, once.
.PHONY: kubernetes
kubernetes: need-go
	@test/cluster/build control

# Kubernetes as a whole, and Pavise in it from nothing to nothing.
.PHONY: e2e
e2e: envoy need-go need-gcc ## test on a real one-node Kubernetes; needs root
	@test/cluster/build
	go test -count=1 -timeout 20m $(TESTFLAGS) ./test/cluster/... ./test/kube/...

# Not from Go's test cache, which does not see the binary itself.
.PHONY: test-matrix
test-matrix: envoy-all need-go ## test what drives an Envoy with each supported one
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; failed=; \
	for version in $(ENVOYS); do \
	  if PAVISE_ENVOY=$(CACHE)/envoy-$$version/envoy $(MAKE) --no-print-directory test-on-envoy >"$$log" 2>&1; then \
	    echo "Envoy $$version: $$(grep -c '^ok' "$$log") packages pass"; \
	  else \
	    cat "$$log"; echo "Envoy $$version: FAILED"; failed=1; \
	  fi; \
	done; test -z "$$failed"

.PHONY: test-on-envoy
test-on-envoy: envoy need-go
	@set -e; go test -count=1 $(TESTFLAGS) $(ON_ENVOY); \
	for module in $(filter ./test ./test/%,$(MODULES)); do \
	  (cd $$module && go test -count=1 $(TESTFLAGS) ./...); \
	done

.PHONY: lint
lint: need-go $(GOFUMPT) $(GOLANGCI) ## check format and style
	@files=$$($(GOFUMPT) -l .); test -z "$$files" || { echo "not formatted; run make fmt:" $$files >&2; exit 1; }
	@set -e; for module in $(MODULES); do \
	  (cd $$module && $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...); \
	done

.PHONY: fmt
fmt: need-go $(GOFUMPT) ## format all Go files
	$(GOFUMPT) -w .

.PHONY: fuzz
fuzz: need-go ## run each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
	    echo "fuzzing $$target in $${file%/*}"; \
	    (cd "$${file%/*}" && go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) . </dev/null) || exit 1; \
	  done || exit 1; \
	done

.PHONY: bench-policy
bench-policy: need-go ## measure the policy engine; ARGS are the benchmark's
	go run ./benchmarks/policy $(ARGS)

.PHONY: bench-lookup
bench-lookup: need-go ## measure looking up in a million prefixes and ten million names
	go run ./benchmarks/lookup $(ARGS)

.PHONY: bench-feeds
bench-feeds: need-go ## measure compiling feeds, deltas and opening a snapshot
	go run ./benchmarks/feeds $(ARGS)

.PHONY: bench-filter
bench-filter: envoy build ## measure what the module, ext_authz and a swap cost
	go run ./benchmarks/filter $(ARGS)

.PHONY: bench-dns
bench-dns: need-go ## measure the resolver beside an echo and CoreDNS
	go run ./benchmarks/dns $(ARGS)

.PHONY: bench-flows
bench-flows: need-go ## measure keeping two million decisions
	go run ./benchmarks/flows $(ARGS)

.PHONY: bench-admin
bench-admin: envoy build ## measure what it costs traffic that somebody looks
	go run ./benchmarks/admin $(ARGS)

.PHONY: bench-xds
bench-xds: need-go ## measure serving 10,000 sidecars beside go-control-plane's SnapshotCache
	go run ./benchmarks/xds $(ARGS)

.PHONY: soak
soak: envoy build ## run a sidecar under mixed traffic for 20 minutes, and see whether anything grows
	go run ./benchmarks/soak $(ARGS)

.PHONY: cluster
cluster: need-go need-gcc ## bring up a Kubernetes of one node on this machine, until Ctrl-C; needs root
	test/cluster/build
	go run ./test/cluster/run $(ARGS)

.PHONY: generate
generate: need-go ## generate the custom resources and what copies them
	cd internal/crdgen && go run .

.PHONY: docs
docs: need-go ## generate the reference pages
	go run ./internal/docsgen

.PHONY: clean
clean: ## remove what was built in the tree; the cache stays
	rm -rf bin .run coverage coverage.* *.test *.out

# A linter takes minutes to build, so it is built once per version.
$(GOLANGCI): | need-go
	@echo "building golangci-lint $(GOLANGCI_VERSION); this takes some minutes, once"
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(GOFUMPT): | need-go
	GOBIN=$(@D) go install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)

# need-TOOL says what to install where TOOL is missing.
HINT_go      := install Go 1.26 or newer from your system or the Go project
HINT_gcc     := the race detector needs it; on Debian: apt-get install gcc libc6-dev
HINT_python3 := it unpacks Envoy; on Debian: apt-get install python3 python3-pip

.PHONY: need-go need-gcc need-python3
need-go need-gcc need-python3: need-%:
	@command -v $* >/dev/null || { echo "$* is missing: $(HINT_$*)" >&2; exit 1; }

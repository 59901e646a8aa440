# make demo      the simulated rack and the real agent in one process
# make test      everything, against real components where there are any
# make check     gofmt, vet, fix, staticcheck, tidy, an arm64 build; runs no test
# make sim       random outages for a minute; SEED=N for others
# make sim-long  every power scenario with many random seeds, and a million random outages
# make vm-test   a whole machine, its outage and its way back; vm-test-long for everything
# make bench     what takes how long, beside the figures on record; SHORT=1 for the quick ones
# make footprint what the daemon costs a server, over FOR=10m
# make race fuzz e2e golden bench-record cover packages

GO       ?= go
FUZZTIME ?= 20s
SEED     ?= 1
FOR      ?= 10m
TOOL      = $(GO) tool -modfile=tools.mod

# What a build says of itself comes from the commit, so that the same commit gives the
# same bytes.
VERSION := $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g')
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
ifeq ($(VERSION),)
VERSION := 0.0.0~dev$(or $(shell git rev-list --count HEAD 2>/dev/null),0)+$(or $(COMMIT),unknown)
endif
export SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
DATE    := $(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)
LDFLAGS  = -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
ARCHES   = amd64 arm64

.PHONY: build
build:
	$(BUILD) -o bin/dodai ./cmd/dodai

.PHONY: demo
demo: build
	./bin/dodai demo

.PHONY: deps
deps:
	@.ci/deps

.PHONY: test
test: deps
	CGO_ENABLED=0 $(GO) test ./...

# The race detector looks for what two goroutines do to the same memory. Left out is what has
# none of ours: packages that only compute or read, and those whose tests run the program or a
# machine from outside (it is built without the detector there; the scripts of cmd/dodai run one
# with it). With -short the demo, the long journal and line tests and the scripts of commands that
# start no goroutine are left to `make test` as well.
RACELESS  = agent/(audit|config|drill|policy|sight)|cmd/internal/sbom|drivers(/(all|dummy|driverstest))?|e2e(/.*)?|packaging|sim/(host|site)

.PHONY: race
race: deps
	CGO_ENABLED=1 $(GO) test -race -short $$($(GO) list ./... | grep -vxE '[^/]+/[^/]+/dodai(/($(RACELESS)))?')

.PHONY: sim
sim: build
	./bin/dodai simulate --for 60s --seed $(SEED) --replay-dir dist/failures

.PHONY: sim-long
sim-long: build
	DODAI_LONG=1 $(GO) test -count=1 -timeout 30m -run 'Scenarios$$' ./agent/drill
	./bin/dodai simulate --random 1000000 --seed $(SEED) --replay-dir dist/failures

.PHONY: e2e
e2e: deps
	CGO_ENABLED=0 $(GO) test -count=1 -v ./e2e/...

.PHONY: fuzz
fuzz:
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func / /' | while read -r file target; do \
		echo "$$(dirname "$$file") $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname "$$file")" || exit 1; \
	done

.PHONY: golden
golden:
	$(GO) test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n 1 dirname | sort -u) -update

# Whole machines in QEMU: some minutes, and a download the first time. The image is kept below
# DODAI_VM_CACHE, or the user's cache folder.
VM_DEPS = qemu-system-x86 qemu-utils mmdebstrap e2fsprogs nbdkit
.PHONY: vm-image
vm-image: deps
	@.ci/deps $(VM_DEPS)
	CGO_ENABLED=0 DODAI_VM=1 $(GO) test -count=1 -v -timeout 30m -run '^TestImage$$' ./e2e/vm

.PHONY: vm-test
vm-test: deps
	@.ci/deps $(VM_DEPS)
	CGO_ENABLED=0 DODAI_VM=1 $(GO) test -count=1 -v -timeout 30m ./e2e/vm

.PHONY: vm-test-long
vm-test-long: deps
	@.ci/deps $(VM_DEPS)
	CGO_ENABLED=0 DODAI_VM=long DODAI_RESULTS=$(CURDIR)/docs/results $(GO) test -count=1 -v -timeout 12h ./e2e/vm

.PHONY: bench
bench: deps
	@GO='$(GO)' COMMIT='$(COMMIT)' SHORT='$(SHORT)' .ci/bench

# What is measured becomes what the next run is compared with.
.PHONY: bench-record
bench-record: bench
	cp dist/bench.txt docs/results/bench.txt

.PHONY: footprint
footprint: deps
	CGO_ENABLED=0 DODAI_BENCH=1 $(GO) test -count=1 -v -timeout 0 ./e2e/footprint -for $(FOR)

.PHONY: cover
cover: deps
	@mkdir -p dist
	$(GO) test -coverpkg=./... -coverprofile=dist/cover.out ./...
	$(GO) tool cover -func=dist/cover.out | tail -n 1

.PHONY: check
check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) fix -diff ./...
	$(TOOL) staticcheck ./...
	$(GO) mod tidy -diff
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build ./...

# What is in the packages comes from the commit alone: the same commit gives the same bytes,
# wherever it is built. Beside each package lies what the program is made of (CycloneDX).
DIST     ?= dist
FORMATS   = deb rpm
STAGE     = $(DIST)/stage

.PHONY: packages
packages:
	@rm -rf $(STAGE) && mkdir -p $(STAGE)/man
	@for arch in $(ARCHES); do echo "build dodai for $$arch" && GOARCH=$$arch $(BUILD) -o $(STAGE)/dodai-$$arch ./cmd/dodai || exit 1; done
	@native=$(STAGE)/dodai-$$($(GO) env GOHOSTARCH) && $$native manpages $(STAGE)/man && cp packaging/*.5 $(STAGE)/man/ && gzip -9n $(STAGE)/man/* && \
		for shell in bash zsh fish; do $$native completion $$shell >$(STAGE)/dodai.$$shell || exit 1; done
	@export DIST='$(DIST)' VERSION='$(VERSION)'; for arch in $(ARCHES); do for format in $(FORMATS); do \
		ARCH=$$arch $(TOOL) nfpm package -f packaging/nfpm.yaml -p $$format -t $(DIST)/ || exit 1; \
	done; done
	@for arch in $(ARCHES); do $(GO) run ./cmd/internal/sbom $(STAGE)/dodai-$$arch '$(VERSION)' >"$(DIST)/dodai_$(VERSION)_$$arch.cdx.json" || exit 1; done
	@for deb in $(DIST)/dodai_$(VERSION)_*.deb; do packaging/check-deb "$$deb" || exit 1; done

# usagelake. `make help` lists what there is.

GO       ?= go
BIN      := bin/usagelake
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.release=$(VERSION)
FUZZTIME ?= 60s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/usagelake
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN) ./cmd/usagelake

.PHONY: demo
demo: build ## run the main job on the simulated Portal, into ./usagelake-demo
	$(BIN) demo

.PHONY: test
test: stores ## every test; the packages that take longest begin first, so that none of them is alone at the end
	$(GO) test -timeout 60m ./load/publish ./jobs ./cmd/usagelake ./jobs/schedule ./load/deliver ./load/report ./...

.PHONY: stores
stores: ## install the object stores and the catalog that tests start, pinned, into bin/stores and bin/catalog (minutes at first)
	GO=$(GO) load/bucket/storetest/install.sh
	load/catalog/catalogtest/install.sh

.PHONY: race
race: stores ## what has goroutines, under the race detector: the fetcher, the Portal, runs side by side, finance's page, the lake's writers
	$(GO) test -race -timeout 45m -skip AtTheRealLimit ./extract/... ./transform ./jobs/alert ./jobs/calendar
	$(GO) test -race -timeout 45m -run 'SideBySide|Stopped|RealConnections|Holds|TestTheConfigIs|TestARunThat|TestACheckThat' ./jobs ./jobs/schedule ./jobs/watch
	$(GO) test -race -timeout 45m ./jobs/serve/library
	$(GO) test -race -timeout 45m -run 'AtOnce|WaitedFor|WhoMayLook|Session' ./jobs/serve/finance ./jobs/serve/assist
	$(GO) test -race -timeout 45m -run 'Lock|Seal|Publish|Reader' ./load ./load/publish
	$(GO) test -race -timeout 45m ./load/bucket ./load/catalog
	$(GO) test -race -timeout 45m ./load/deliver -skip 'Growth|ManyFiles|Checkpoint|Rotted' -rapid.checks=5

.PHONY: compat
compat: build stores ## read a lake's files with readers of other makes, pinned, in environments of their own (4 GB in bin); UPDATE=-update writes docs/readers.md and engines.md; what engines read through a catalog: make engines
	rm -rf bin/compat-lake && $(BIN) demo --quiet --lake bin/compat-lake
	cd testdata/compat && USAGELAKE_COMPAT_LAKE=$(CURDIR)/bin/compat-lake USAGELAKE_COMPAT_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -v -timeout 60m -skip InACatalog ./... $(UPDATE)
	$(BIN) report focus --lake bin/compat-lake --format csv --out bin/compat-focus.csv
	$(BIN) report focus --lake bin/compat-lake --format parquet --out bin/compat-focus.parquet
	FOCUS_VENV=$(CURDIR)/bin/compat-focus testdata/compat/focus/check.sh $(CURDIR)/bin/compat-focus.csv $(CURDIR)/bin/compat-focus.parquet

.PHONY: dashboards
dashboards: build ## the dashboards of deploy on a lake of their own: the dbt project and Superset, pinned, each in an environment of its own (1.2 GB in bin)
	rm -rf bin/dashboards-lake && $(BIN) demo --quiet --lake bin/dashboards-lake
	DBT_VENV=$(CURDIR)/bin/dashboards-dbt deploy/dbt/check.sh bin/dashboards-lake
	SUPERSET_VENV=$(CURDIR)/bin/dashboards-superset deploy/superset/check.sh bin/dashboards-lake

.PHONY: engines
engines: build stores ## read the Delta and Iceberg tables of a delivery with engines of other makes, pinned (part of compat, but for tables in a catalog); UPDATE=-update writes docs/engines.md
	cd testdata/compat && USAGELAKE_COMPAT_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -v -timeout 60m -run Engines . $(UPDATE)

.PHONY: crash
crash: ## kill the program some 1,100 times, at every write step and at random, with records inside and outside of the file, and compare the lake with the truth
	$(GO) test -v -timeout 120m -run 'TestNothingIsLostOrDoubled|TestADeliveryThatIsKilledMixesNothing' ./cmd/usagelake -crash.steps 0 -crash.random 280

.PHONY: soak
soak: ## thirty days of the daemon against a Portal that fails now and then, by a clock of their own
	$(GO) test -v -timeout 60m -run TestSoak ./jobs/schedule -soak.days 30

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, how long lines and files are
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 -run TestLinesAndFilesAreShort ./cmd/usagelake

BENCHRUN = cd bench && ../bin/bench-run $(if $(filter full,$(BENCH)),-full)

.PHONY: bench
bench: build bench-build ## compare with other ways of doing the same, in some 10 minutes; ONLY=parquet,publish for parts, BENCH=full for ten times the size
	$(BENCHRUN) $(if $(ONLY),-only $(ONLY))

.PHONY: bench-docs
bench-docs: bench-build ## write the tables of the last `make bench` into docs/performance.md
	$(BENCHRUN) -docs ../docs/performance.md

.PHONY: bench-build
bench-build:
	cd bench && $(GO) build -o ../bin/bench-run . && $(GO) build -o ../bin/bench-empty ./empty

.PHONY: bench-smoke
bench-smoke: ## see that `make bench` works, at a size that measures nothing
	cd bench && $(GO) test -count=1 ./...

.PHONY: gobench
gobench: ## the Go benchmarks of every stage, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## every fuzzer for FUZZTIME (default 60s) each
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
	  done; \
	done

.PHONY: update
update: ## write the golden files anew, to be read in review
	$(GO) test ./transform ./cmd/... -update

.PHONY: man
man: build ## write the manual pages into bin/man
	rm -rf bin/man && $(BIN) man bin/man

.PHONY: release
release: ## archive, SBOM and checksums of this commit, into dist; RELEASE="-arch amd64,arm64" for more
	$(GO) run ./deploy/release $(RELEASE)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist

# A bare `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail
# How long make fuzz runs each target; which Go benchmarks of which packages make bench-compare runs,
# how often, and the commit that it compares with.
FUZZTIME ?= 30s
BENCH ?= .
PKG ?= ./...
COUNT ?= 6
OLD ?= HEAD
# How long make jepsen begins new runs.
JEPSEN ?= 1m
# What make torture does: kills of a real node, power cuts of simulated ones, and after how long each of the
# two ends at whatever count (0: never). The seed of torture and of simulations (0: a new one).
KILLS ?= 2000
CUTS ?= 20000
LIMIT ?= 0
SEED ?= 0
# Where make sim, mutants and torture write their results; by default what was recorded is replaced by complete
# runs only: make sim writes none, make torture with less than all kills and cuts writes to bin.
RESULT ?=
TORTURED = $(if $(filter 2000-20000-0,$(KILLS)-$(CUTS)-$(LIMIT)),docs/results/torture.md,bin/torture/report.md)
# How many seeds make sim runs, from SEED on, on how many processes; which workload (empty: drawn by each).
SEEDS ?= $(if $(filter-out 0,$(SEED)),1,50)
PROCS ?= $(shell getconf _NPROCESSORS_ONLN)
WORKLOAD ?=

# Which mutant make mutants catches (empty: all).
MUTANT ?=

.PHONY: help build demo test race lint fmt generate fuzz sim bench bench-compare cover jepsen mutants torture

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-14s %s\n", $$1, $$2}' Makefile

build: ## build bin/theriac
	go build -o bin/theriac ./cmd/theriac

demo: build ## three regions in one process: concurrent writes, a partition, a crash, healing
	bin/theriac demo

test: ## run all tests
	go test ./...

race: ## run the tests of all packages that use goroutines under the race detector
	go test -race -timeout 20m $$(.ci/run concurrent-packages)

lint: ## formatting, vet, staticcheck, import graph
	.ci/run format vet staticcheck graph

fmt: ## format the source
	gofmt -w .

generate: ## regenerate the protobuf code (needs protoc, Debian package protobuf-compiler)
	go generate ./...

fuzz: ## fuzz every decoder for FUZZTIME each (default 30s)
	.ci/run fuzz-for $(FUZZTIME)

jepsen: build ## workloads on real nodes that are disturbed, for JEPSEN (default 1m), each run from a seed of its own
	rm -rf bin/jepsen && bin/theriac jepsen all --time-limit $(JEPSEN) --each 8s --seed $$(date +%s) --out bin/jepsen \
		--workloads bank,causal,counter,mixed,session,bounded,durability,strong-register --nemeses partition-halves+kill-one,partition-oneway+pause,slow+kill-all

sim: ## simulate clusters under faults: SEEDS=n new seeds, or SEED=x again, WORKLOAD=name, RESULT=file for a summary
	@mkdir -p $(dir $(or $(RESULT),bin/))
	go test ./jepsen/sim -run '^TestSeeds$$' -v -count=1 -timeout 0 -seeds $(SEEDS) -seed $(SEED) -procs $(PROCS) \
		-workload '$(WORKLOAD)' -out $(CURDIR)/bin/sim $(if $(RESULT),-report $(abspath $(RESULT))) \
		| grep --line-buffered -Ev '^(=== RUN|--- |PASS|FAIL|ok )'

bench: ## measure the figures of docs/benchmarks.md, each beside its limit, and write them there
	go run ./bench/cmd -write docs/benchmarks.md

bench-compare: ## Go benchmarks of commit OLD (default HEAD) and of this tree: BENCH=pattern PKG=./crdt COUNT=6
	.ci/run compare '$(OLD)' '$(BENCH)' '$(COUNT)' $(PKG)

cover: ## write bin/cover.html: which statements the tests of all packages run
	mkdir -p bin && go test -coverpkg=./... -coverprofile=bin/cover.out ./... && go tool cover -html=bin/cover.out -o bin/cover.html

mutants: ## catch every mutant (deliberate faults in the database) by the simulation, or MUTANT=name; all of them: docs/results/mutants.md
	@mkdir -p $(dir $(or $(RESULT),docs/results/))
	go test -tags mutants ./jepsen/sim -run '^TestMutants$$' -count=1 -v -timeout 0 -mutant '$(MUTANT)' \
		$(if $(MUTANT),,-table $(abspath $(or $(RESULT),docs/results/mutants.md)))

torture: ## kill -9 real nodes and cut the power of simulated ones: KILLS=2000 CUTS=20000 SEED=x LIMIT=2h RESULT=file
	@mkdir -p bin/torture $(dir $(or $(RESULT),bin/))
	go test ./jepsen/torture -run '^(TestKills|TestCuts)$$' -count=1 -v -timeout 0 -kills $(KILLS) -cuts $(CUTS) -seed $(SEED) \
		-limit $(LIMIT) -loud -keep $(CURDIR)/bin/torture -report $(abspath $(or $(RESULT),$(TORTURED)))

# A bare `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail
# How long make fuzz runs each target, which benchmarks make bench runs and how often (6 or more for
# make bench-compare), and the two files that make bench-compare reads.
FUZZTIME ?= 30s
BENCH ?= .
COUNT ?= 1
OLD ?= bench.old.txt
NEW ?= bench.new.txt

.PHONY: help build demo test race lint fmt generate fuzz bench bench-compare cover

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

bench: ## run the benchmarks, each beside its limit (BENCH=pattern, COUNT=n)
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 2h ./...

bench-compare: ## compare two outputs of make bench: OLD=file NEW=file
	go tool benchstat $(OLD) $(NEW)

cover: ## write bin/cover.html: which statements the tests of all packages run
	mkdir -p bin && go test -coverpkg=./... -coverprofile=bin/cover.out ./... && go tool cover -html=bin/cover.out -o bin/cover.html

# One command for each thing one does with this tree; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc)
ENV     := . scripts/env.sh &&
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Given every time, so that what set-up has fetched since is seen.
NATIVE_FLAGS = -DONEDNN_ROOT="$$ONEDNN_ROOT" -DTENSORRT_ROOT="$${TENSORRT_ROOT:-}" \
  -DTRTACT_TRT_RTX_INCLUDE="$${TRTACT_TRT_RTX_INCLUDE:-}" -DTRTACT_TRT_INCLUDE="$${TRTACT_TRT_INCLUDE:-}" \
  -DTRTACT_CUDA_ROOT="$${TRTACT_CUDA_ROOT:-}" -DTRTACT_TRT_HEADERS="$${TRTACT_TRT_HEADERS:-}"

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.6.1
PROTOC_GEN  := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6

.PHONY: help setup setup-cuda setup-test build native go demo test test-gpu sanitize-gpu check-tensorrt check-cuda bench bench-gpu references accuracy ladder \
        zoo lint fuzz docs update-snapshots generate sanitize install clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: ## get what building needs: compiler, CMake, Go, oneDNN, TensorRT for RTX
	@scripts/setup/all.sh

setup-cuda: ## get CUDA's compiler (129 MB) where no CUDA is installed; then build the CUDA backend with `make build`
	@scripts/setup/cuda.sh

setup-test: ## the same, the Python tools that tests compare with, and an MPI
	@scripts/setup/all.sh test

build: setup native go ## build build/trtact and build/lib

native:
	@[ -e build/lib/libtrtact_cpu_v3.so ] || echo "native: building the libraries of csrc, some minutes the first time"
	@$(ENV) cmake -S . -B build --log-level=WARNING $(NATIVE_FLAGS) >/dev/null && \
	  cmake --build build -j $(JOBS) -- --no-print-directory -s | { grep -vE '^(\[|Consolidate|Linking|Built target)' || true; }

go:
	@$(ENV) go build -trimpath -ldflags "-X main.version=$(VERSION)" -o build/trtact .

demo: build ## the main job on the bundled detector: float ONNX and pictures in, INT8 engine out
	@scripts/demo.sh

test: setup-test native go ## all tests; ends with the counts of passed, failed and skipped
	@scripts/test.sh

check-tensorrt: setup native ## the TensorRT shims against TensorRT's real libraries, 8.4 to 11 (fetches 2.8 GB; see the script)
	@scripts/check_tensorrt.sh

check-cuda: ## our declarations of cuDNN, cuBLAS, NCCL and the driver against NVIDIA's own, CUDA 11.8 to 13 (fetches 5 GB; see the script)
	@scripts/check_cuda.sh

test-gpu: setup-test native go ## the tests that need an NVIDIA GPU, as a table; skips where there is none
	@scripts/gpu.sh test

sanitize-gpu: setup-test native go ## the CUDA kernels' tests under compute-sanitizer; skips where there is no NVIDIA GPU
	@scripts/gpu.sh sanitize

bench: setup-test native go ## our speed and memory beside the peers', with ratios
	@scripts/bench.sh

zoo: ## the zoo's networks beside their published parameter counts (installs PyTorch, 6 GB)
	@scripts/zoo.sh

references: setup-test native go ## make the reference values that PyTorch gives again (installs PyTorch, 6 GB)
	@$(ENV) TRTACT_TORCH=$$(scripts/setup/torch.sh) TRTACT_UPDATE_SNAPSHOTS=1 go test -count=1 ./internal/compute ./internal/nn -run 'Torch'

bench-gpu: setup native go ## time every model in all precisions, as tables; skips where there is no NVIDIA GPU
	@scripts/gpu.sh bench

accuracy: setup-test native go ## mAP of float, PTQ and the peers' PTQ on COCO images
	@scripts/accuracy.sh

ladder: setup-test native go ## what every rung of the ladder reaches on the detectors of TRTACT_DATA, beside the peers
	@scripts/ladder.sh

lint: ## gofmt, go vet, staticcheck
	@$(ENV) test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet ./... && go run $(STATICCHECK) ./...

fuzz: ## fuzz every reader of untrusted files for FUZZTIME (default 20s) each
	@$(ENV) scripts/fuzz.sh $(or $(FUZZTIME),20s)

docs: build ## write the generated parts of docs/ (commands, configuration, operators)
	@$(ENV) go generate ./cli ./internal/config ./internal/nn

update-snapshots: setup-test native go ## accept what the snapshot tests now produce
	@$(ENV) TRTACT_UPDATE_SNAPSHOTS=1 go test ./...

generate: setup-test ## regenerate the ONNX message types and operator table (needs protoc)
	@command -v protoc >/dev/null || { echo "generate: needs protoc (Debian, Ubuntu: protobuf-compiler)" >&2; exit 1; }
	@$(ENV) GOBIN=$$PWD/build/bin go install $(PROTOC_GEN) && \
	  PATH=$$PWD/build/bin:$$(dirname $$TRTACT_PYTHON):$$PATH go generate ./internal/onnx/...

sanitize: setup ## build the native libraries with address and undefined-behaviour sanitizers and run the C++ tests
	@$(ENV) cmake -S . -B build/asan -DTRTACT_ASAN=ON --log-level=WARNING $(NATIVE_FLAGS) >/dev/null && \
	  cmake --build build/asan -j $(JOBS) && ctest --test-dir build/asan --output-on-failure

install: build ## install the program, its libraries, manual page and completions under PREFIX (default /usr/local)
	install -D -m 755 build/trtact $(DESTDIR)$(PREFIX)/bin/trtact
	@scripts/install_texts.sh build/trtact $(DESTDIR)$(PREFIX)/share
	DESTDIR=$(DESTDIR) cmake --install build --prefix $(PREFIX)

clean: ## remove build/ (the download cache stays)
	rm -rf build

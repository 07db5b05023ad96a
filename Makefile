# Everything is done by cmd/rig; this file gives it names and passes options on.
.DEFAULT_GOAL := help
RIG := build/rig

# Options reach the rig by the environment, as they were typed: without
# $(value) make would take the $ in RUN='^TestX$' for a variable of its own.
# No shell passes on a variable with a "-" in its name: that of a target is "_".
OPTIONS := TARGETS TARGET KERNELS RUN SHARD TIMEOUT LIMIT JOBS CPUS MEMORY ACCEL APPEND QEMU_ARGS GDB TESTS MINUTES $(filter KERNEL_% MODULES_% VSPAWN_%,$(.VARIABLES))
$(foreach o,$(OPTIONS),$(if $(filter-out undefined,$(origin $o)),$(eval override export $(subst -,_,$o) := $$(value $o))))

.PHONY: help qemu-test soak nommu-std test fuzz osexec image run kernel bench setup clean rig

help: rig ## list targets and options
	@echo 'make TARGET [OPTION=value]'; echo; echo 'targets:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@$(RIG) options

qemu-test: rig ## run the tests in guests of all architectures
	@$(RIG) test

soak: rig ## start children at random for MINUTES=, on this machine and in guests
	@$(RIG) soak

nommu-std: rig ## run the standard library's tests on riscv64-nommu
	@$(RIG) std

test: rig ## vet, lint, and run the tests on this machine and under qemu-user
	@$(RIG) check

fuzz: rig ## try random input on all fuzz targets, for MINUTES=
	@$(RIG) fuzz

osexec: ## run the tests of os/exec, and of programs that use it, against vspawn/exec
	go run ./tests/osexec

image: rig ## build build/<target>/initramfs.cpio.gz
	@$(RIG) image

run: rig ## boot TARGET= to a shell in this terminal; Ctrl-A X leaves it
	@$(RIG) run

kernel: rig ## fetch the newest kernels, and build those that are built
	@$(RIG) kernel

setup: rig ## install the packages that are missing (as root, or with sudo)
	@$(RIG) setup

bench: ## measure all ways to start a process, and write docs/performance.md
	@go -C bench run . -only "$$RUN"

clean: ## remove what was made, but for the cache of kernels
	rm -rf build

rig:
	@go build -o $(RIG) ./cmd/rig

# Everything a person or a build machine does with this repository. Written for Debian and Ubuntu.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo

# A target of its own keeps the flags of the static build away from all other builds.
STATIC_TARGET := $(shell uname -m)-unknown-linux-gnu
STATIC_BINARY := $(abspath $(or $(CARGO_TARGET_DIR),target))/$(STATIC_TARGET)/release/nas-sync
# getrandom asks the kernel directly, so that a folder without /dev is enough to run in.
SELF_CONTAINED := -C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"
STATIC_FLAGS := $(SELF_CONTAINED)
# Compact relocations: 190 KB less. glibc reads them from 2.36 on; a program with an older one inside would crash at start. The
# linkers of other machines learnt to write them later.
GLIBC := $(lastword $(shell getconf GNU_LIBC_VERSION 2>/dev/null))
ifeq ($(shell uname -m) $(shell printf '%s\n' 2.36 '$(GLIBC)' | sort -V | head -n 1),x86_64 2.36)
STATIC_FLAGS += -C link-arg=-Wl,-z,pack-relative-relocs
endif
# No panic passes through C here, so that its tables for unwinding are of no use.
STATIC_CFLAGS := $(CFLAGS) -fno-asynchronous-unwind-tables

# For another machine than this one: the target of rustup, and the prefix of Debian's compiler.
AARCH64 := aarch64-unknown-linux-gnu
AARCH64_CC := aarch64-linux-gnu-gcc
AARCH64_PROFILE ?= release
AARCH64_BINARY = $(BUILT)/$(AARCH64)/$(AARCH64_PROFILE:dev=debug)/nas-sync

# The Python wheel, and what builds it.
BUILT := $(abspath $(or $(CARGO_TARGET_DIR),target))
WHEELS ?= $(BUILT)/wheels
WHEEL_FLAGS ?= --release
MATURIN_VERSION := 1.16.0
MATURIN := $(BUILT)/maturin-$(MATURIN_VERSION)/bin/maturin

# Where `make install` puts it, below DESTDIR if that is set, and which program.
PREFIX ?= /usr/local
BINARY ?= $(STATIC_BINARY)
INSTALL := install -D -m

# What makes the packages, in a folder of its own.
PACKAGES := target/packages
CARGO_DEB := $(BUILT)/cargo-deb-3.8.0/bin/cargo-deb
CARGO_RPM := $(BUILT)/cargo-generate-rpm-0.21.1/bin/cargo-generate-rpm

# Command and Debian package of what the tests and the demonstration need besides Rust.
NEEDED := rsync:rsync sshd:openssh-server ssh-keygen:openssh-client ps:procps cc:build-essential script:bsdutils \
    mkfs.ext4:e2fsprogs setpriv:util-linux unshare:util-linux mount:mount perl:perl-base cmp:diffutils \
    fish:fish tcsh:tcsh busybox:busybox useradd:passwd dropbear:dropbear-bin lowntfs-3g:ntfs-3g \
    pg_ctlcluster:postgresql psql:postgresql-client pgbouncer:pgbouncer openssl:openssl chromium:chromium systemd-analyze:systemd curl:curl docker-compose:docker-compose

.PHONY: help test demo static aarch64 install deb rpm licenses wheel picture bench fmt lint doc ci clean deps rust

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Most tests wait for a NAS more than they work: three at a time on two cores.
TEST_THREADS ?= $(shell echo $$(( $$(nproc) * 3 / 2 )))

test: deps static ## Run all tests, against a real rsync and a real sshd on loopback
	NAS_SYNC_STATIC=$(STATIC_BINARY) RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test

demo: deps static wheel ## Sync sample documents to a throwaway NAS on this machine, by hand and from a backend
	@tests/demo.sh $(STATIC_BINARY) "$$(ls -t '$(WHEELS)'/*.whl | head -n 1)"

static: rust ## Build the static binary, which runs in an empty folder
	CFLAGS='$(STATIC_CFLAGS)' RUSTFLAGS='$(STATIC_FLAGS)' $(CARGO) build --release --target $(STATIC_TARGET)
	@echo "$(STATIC_BINARY): $$(stat -c %s $(STATIC_BINARY)) bytes"

aarch64: rust ## Build the static binary for aarch64 machines, and try it under qemu
	@for pair in $(AARCH64_CC):gcc-aarch64-linux-gnu qemu-aarch64:qemu-user; do \
	    command -v "$${pair%%:*}" >/dev/null || { echo "$${pair%%:*} is missing (Debian: $${pair##*:})" >&2; exit 1; }; \
	done
	rustup target add $(AARCH64)
	CC_aarch64_unknown_linux_gnu=$(AARCH64_CC) CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$(AARCH64_CC) \
	    CFLAGS_aarch64_unknown_linux_gnu='$(STATIC_CFLAGS)' RUSTFLAGS='$(SELF_CONTAINED)' \
	    $(CARGO) build --profile $(AARCH64_PROFILE) --target $(AARCH64)
	@echo "$(AARCH64_BINARY): $$(stat -c %s $(AARCH64_BINARY)) bytes"
	NAS_SYNC_AARCH64=$(AARCH64_BINARY) $(CARGO) test --test integration -- --ignored aarch64

# The folders whose pages README.md and docs/ lead to.
DOCUMENTED = python tests benches protocol-notes

install: $(if $(wildcard $(BINARY)),,static) ## Install it below PREFIX (/usr/local)
	@$(INSTALL) 755 '$(BINARY)' '$(DESTDIR)$(PREFIX)/bin/nas-sync'
	@$(INSTALL) 644 LICENSES '$(DESTDIR)$(PREFIX)/share/doc/nas-sync/LICENSES'
	@for page in README.md README.fr.md CHANGELOG.md LICENSE-* docs/* $(DOCUMENTED:%=%/*.md); do \
	    $(INSTALL) 644 "$$page" "$(DESTDIR)$(PREFIX)/share/doc/nas-sync/$$page" || exit 1; \
	done
	@$(INSTALL) 644 -t '$(DESTDIR)$(PREFIX)/share/doc/nas-sync/examples/deploy' $(wildcard examples/deploy/*.*)
	@$(INSTALL) 644 -t '$(DESTDIR)$(PREFIX)/share/doc/nas-sync/examples/deploy/nas' $(wildcard examples/deploy/nas/*)
	@sed 's|/usr/local/bin/|$(PREFIX)/bin/|' examples/deploy/nas-sync.service \
	    | $(INSTALL) 644 /dev/stdin '$(DESTDIR)$(PREFIX)/share/doc/nas-sync/examples/deploy/nas-sync.service'
	@! '$(BINARY)' man >/dev/null 2>&1 || { \
	    share='$(DESTDIR)$(PREFIX)/share'; \
	    (umask 022 && '$(BINARY)' man --to "$$share/man/man1"); \
	    '$(BINARY)' completions bash | $(INSTALL) 644 /dev/stdin "$$share/bash-completion/completions/nas-sync"; \
	    '$(BINARY)' completions zsh | $(INSTALL) 644 /dev/stdin "$$share/zsh/site-functions/_nas-sync"; \
	    '$(BINARY)' completions fish | $(INSTALL) 644 /dev/stdin "$$share/fish/vendor_completions.d/nas-sync.fish"; \
	}
	@echo "$(DESTDIR)$(PREFIX)/bin/nas-sync is installed"

# Both take the tree that `make install` lays.
$(PACKAGES)/root: FORCE
	@rm -rf '$@' && $(MAKE) --no-print-directory install DESTDIR='$@' PREFIX=/usr

deb: rust $(CARGO_DEB) $(PACKAGES)/root ## Build the package for Debian and Ubuntu
	'$(CARGO_DEB)' --no-build --no-strip --output '$(PACKAGES)'

rpm: rust $(CARGO_RPM) $(PACKAGES)/root ## Build the package for Fedora and openSUSE
	'$(CARGO_RPM)' --output '$(PACKAGES)'

$(CARGO_DEB) $(CARGO_RPM):
	tool='$(notdir $(abspath $(dir $@)..))'; \
	    $(CARGO) install --quiet --locked --root '$(abspath $(dir $@)..)' "$${tool%-*}@$${tool##*-}"

licenses: rust ## Write down what is linked in, and under which terms
	packaging/licenses >LICENSES.new && mv LICENSES.new LICENSES

wheel: rust $(MATURIN) ## Build the Python package, for CPython 3.9 and later
	$(MATURIN) build --quiet --locked --manifest-path python/Cargo.toml --out '$(WHEELS)' $(WHEEL_FLAGS)
	@ls -l '$(WHEELS)'/*.whl

$(MATURIN):
	python3 -m venv '$(dir $(MATURIN))..'
	'$(dir $(MATURIN))pip' install --quiet --disable-pip-version-check 'maturin==$(MATURIN_VERSION)'

picture: deps static ## Draw docs/terminal.svg anew
	tests/picture.py $(STATIC_BINARY) docs/terminal.svg

bench: rust ## Measure against system rsync, and the parts one by one
	$(CARGO) bench

fmt: rust ## Format the code
	$(CARGO) fmt --all

lint: rust ## Check formatting and lints, as the build machine does
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings
	$(CARGO) clippy --lib --no-default-features --features sqlite,watch -- -D warnings
	$(CARGO) clippy --lib --no-default-features --features postgres,watch -- -D warnings
	$(CARGO) clippy -p nas-sync-python --features extension-module -- -D warnings
	$(CARGO) clippy --lib --no-default-features --features api,sqlite -- -D warnings

doc: rust ## Build the documentation of the library
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps

ci: ## Run what the build machine runs
	.ci/run

clean: ## Remove everything that was built
	$(CARGO) clean

FORCE:

rust:
	@command -v $(CARGO) >/dev/null || { \
	    echo "cargo is missing. Install Rust 1.89 or later, for example with" >&2; \
	    echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; \
	    exit 1; }

# Asks apt only for what is missing, and for root's rights only then.
deps: rust
	@export PATH="$$PATH:/usr/sbin:/sbin"; missing=(); \
	for pair in $(NEEDED); do \
	    command -v "$${pair%%:*}" >/dev/null || missing+=("$${pair##*:}"); \
	done; \
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv); \
	if [[ $${#missing[@]} -gt 0 ]]; then \
	    echo "installing: $${missing[*]}"; \
	    sudo=(); [[ $$(id -u) -eq 0 ]] || sudo=(sudo); \
	    "$${sudo[@]}" apt-get update -qq; \
	    "$${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	fi

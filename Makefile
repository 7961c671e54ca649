# lensd: build, test, demo, install. `make help` lists the targets.
#
# Objects go to build/ (BUILD=...); SAN=address,undefined or SAN=thread builds everything with that sanitizer and
# without jemalloc; WERROR=1 turns warnings into errors (make check does, a user's build doesn't).

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
CXX     ?= c++
SAN     ?=
WERROR  ?=
ROWS    ?= 10000000
VERSION := 0.1.0
PYTHON  ?= python3

# Named from here, however it was given: what objects depend on is noted under their names.
override BUILD := $(patsubst $(CURDIR)/%,%,$(abspath $(BUILD)))

PACKAGES := gcc g++ libc6-dev pkg-config libuv1-dev libjemalloc-dev flatbuffers-compiler libflatbuffers-dev libzip-dev \
            libjansson-dev libinih-dev libxxhash-dev libcmocka-dev libsystemd-dev libmicrohttpd-dev libncurses-dev python3
CHECK_PACKAGES := clang clang-format clang-tidy cppcheck libclang-rt-14-dev python3-venv strace
# Shells that the tests of completion ask.
CHECK_PACKAGES += bash-completion zsh fish
# What checks the man pages.
CHECK_PACKAGES += mandoc man-db
# systemd-analyze; containers and packages to try the service in.
CHECK_PACKAGES += systemd systemd-container debhelper dpkg-dev lintian
# The screen of lensctl top, as a person sees it.
CHECK_PACKAGES += tmux

PKGS    := libuv libzip jansson inih libxxhash libsystemd libmicrohttpd
OPT     ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
CXXWARN := -Wall -Wextra
ifneq ($(WERROR),)
WARN    += -Werror
CXXWARN += -Werror
endif
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
DEFINES  := -D_GNU_SOURCE -DLENSD_VERSION='"$(VERSION)"' $(if $(SAN),-DLENSD_SANITIZED=1)
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS   += -std=c11 $(OPT) -fPIC -fvisibility=hidden -pthread $(WARN) $(SANFLAGS)
CXXFLAGS += -std=c++17 $(OPT) -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti $(CXXWARN) $(SANFLAGS)
CPPFLAGS += -I. -I$(BUILD)/gen $(DEFINES) $(PKG_CFLAGS)
# io_uring is only measured (bench_cold_read); nothing else needs liburing.
URING    := $(shell pkg-config --exists liburing 2>/dev/null && echo -luring)
JEMALLOC := $(if $(SAN),,-ljemalloc)

# The CUDA backend is a library of its own. CUDA= (or a sanitizer, or no nvcc) leaves it out; the same sources run on an
# emulated card in the tests, everywhere but under ThreadSanitizer (no fibers there).
NVCC         ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA         ?= $(if $(SAN),,$(NVCC))
CUDA_HOME    ?= $(patsubst %/bin/,%,$(dir $(realpath $(NVCC))))
CUDA_LIB     ?= $(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/x86_64-linux/lib $(CUDA_HOME)/lib))
CUDA_ARCHS   ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
# No contraction: what is fused says so (fmaf), so that a sum's bits don't hang on how a kernel was optimised.
NVCCFLAGS    ?= -std=c++17 -O3 -fmad=false -Xcompiler -fPIC,-fvisibility=hidden $(if $(WERROR),-Werror all-warnings)
EMULATED     := $(if $(filter thread,$(SAN)),,yes)
EMULATOR_INC := -DLENS_CUDA_EMULATED -Itests/gpu/emulator

# V=1 shows whole command lines.
ifeq ($(V),)
Q := @
say = @printf '  %-5s %s\n' '$(1)' '$(2)'
endif

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

PROTO_OBJ   := $(call obj,$(wildcard proto/*.c)) $(BUILD)/obj/proto/codec.o
IMPORT_OBJ  := $(call obj,$(wildcard proto/import/*.c))
KERNELS_OBJ := $(call obj,$(wildcard kernels/*.c kernels/cpu/*.c))
CACHE_OBJ   := $(call obj,$(wildcard daemon/cache/*.c))
DAEMON_OBJ  := $(call obj,$(filter-out daemon/main.c,$(wildcard daemon/*.c)))
LIBLENS_OBJ := $(call obj,$(wildcard client/liblens/*.c) proto/ring.c proto/lens_error.c proto/options.c proto/dtype.c) \
               $(BUILD)/obj/proto/codec.o
# Histograms stand on their own, as the cache does.
CTL_OBJ     := $(call obj,$(wildcard client/lensctl/*.c) daemon/histogram.c)
CUDA_SRC    := $(wildcard kernels/cuda/*.c kernels/cuda/*.cu)
CUDA_OBJ    := $(patsubst %,$(BUILD)/obj/%.o,$(basename $(filter %.c,$(CUDA_SRC))) $(filter %.cu,$(CUDA_SRC)))
EMULATOR_OBJ := $(patsubst %.c,$(BUILD)/emulated/obj/%.o,$(wildcard tests/gpu/emulator/*.c))
# The backend with its kernels, emulated: for tests that call it without loading a library.
CUDA_EMULATED_OBJ := $(patsubst %,$(BUILD)/emulated/obj/%.o,$(basename $(filter %.c,$(CUDA_SRC))) $(filter %.cu,$(CUDA_SRC)) \
                     tests/gpu/emulator/kernels) $(EMULATOR_OBJ)
# Tests that link the emulated card.
CUDA_LINKED_TESTS := $(patsubst %,$(BUILD)/tests/unit/%,cuda_emulator_test cuda_score_test cuda_backend_test cuda_slots_test)
UNIT_TESTS  := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*_test.c))
UNIT_TESTS  := $(if $(EMULATED),$(UNIT_TESTS),$(filter-out $(CUDA_LINKED_TESTS),$(UNIT_TESTS)))
BENCHES     := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/bench_*.c tests/bench/synth.c))
TEST_LIB    := $(call obj,$(wildcard tests/unit/support/*.c))
BENCH_LIB   := $(call obj,$(wildcard tests/bench/support/*.c))
SOAK_OBJ    := $(call obj,$(wildcard tests/soak/*.c))

$(BUILD)/obj/proto/quantize.o:           KOPT := $(if $(SAN),,-O3) -ffp-contract=off
# Under ThreadSanitizer the inner products run as they are: pure functions that share nothing, and a hundred times
# slower when every load is watched. Who calls them, with what and when is instrumented.
PLAIN_PRODUCTS = $(if $(and $(filter thread,$(SAN)),$(findstring /kernels_,$@)),-O3 -fno-sanitize=thread)
# Instruction sets are chosen at run time; only these files are compiled for them.
$(BUILD)/obj/kernels/cpu/%_avx2.o:        ARCH := -mavx2 -mfma -mf16c
$(BUILD)/obj/kernels/cpu/%_avx512.o:      ARCH := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
$(BUILD)/obj/kernels/cpu/%_avx512vnni.o:  ARCH := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma
$(BUILD)/obj/kernels/cpu/%_avx512bf16.o:  ARCH := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma
$(BUILD)/obj/kernels/%.o:                 KOPT := $(if $(SAN),,-O3) -ffp-contract=off

$(BUILD)/obj/kernels/cuda/%.o:            ARCH := $(if $(CUDA),-isystem $(CUDA_HOME)/include)
$(BUILD)/obj/tests/unit/cuda_%.o:         ARCH := $(EMULATOR_INC)
$(BUILD)/emulated/obj/kernels/cuda/%.o:   KOPT := $(if $(SAN),,-O3) -ffp-contract=off
$(BUILD)/emulated/obj/tests/gpu/emulator/%.o: KOPT := $(if $(SAN),,-O3) -ffp-contract=off

$(BUILD)/obj/tests/bench/support/uring_read.o: KOPT := $(if $(URING),-DBENCH_URING)
$(BUILD)/bench/bench_cold_read:           BENCH_LIBS := $(URING)

.DEFAULT_GOAL := all
.SECONDARY: # keep objects of tests and benchmarks
.PHONY: completions all cuda emulated deps check-deps bench-deps demo check bench help clean lint format test unit e2e real-lenses soak tests benches

all: $(BUILD)/lensd $(BUILD)/lensctl $(BUILD)/liblens.so $(BUILD)/liblens.a cuda ## lensd, lensctl, liblens and, with nvcc, lens_cuda.so in build/

deps: ## install the Debian packages lensd is built from (skipped when all are there)
	@PACKAGES="$(PACKAGES)" tests/install-packages.sh

bench-deps: deps
	@PACKAGES="liburing-dev" tests/install-packages.sh || echo "no liburing-dev: bench_cold_read goes without io_uring"

check-deps: deps
	@PACKAGES="$(CHECK_PACKAGES)" tests/install-packages.sh

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(KOPT) $(PLAIN_PRODUCTS) $(ARCH) -MMD -MP -c -o $@ $<

# The assembler reads the page.
$(BUILD)/obj/client/lensctl/timeline_page.o $(BUILD)/obj/tests/unit/timeline_test.o: client/lensctl/timeline.html

$(BUILD)/obj/proto/codec.o: proto/codec.cc $(BUILD)/gen/proto/lens_generated.h
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -fno-access-control -MMD -MP -c -o $@ $<

$(BUILD)/gen/proto/lens_generated.h: proto/lens.fbs
	@mkdir -p $(@D)
	$(call say,FLATC,$@)
	$(Q)flatc --cpp --scoped-enums -o $(@D) $<

$(BUILD)/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,NVCC,$@)
	$(Q)$(NVCC) -I. $(NVCCFLAGS) $(CUDA_ARCHS) -MMD -MP -c -o $@ $<

$(BUILD)/emulated/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(EMULATOR_INC) $(CPPFLAGS) $(CFLAGS) $(KOPT) -MMD -MP -c -o $@ $<

$(BUILD)/emulated/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) $(EMULATOR_INC) $(CPPFLAGS) $(CXXFLAGS) $(KOPT) -MMD -MP -Wno-unknown-pragmas -c -o $@ -x c++ $<

$(BUILD)/emulated/obj/%.o: %.cc
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) $(EMULATOR_INC) $(CPPFLAGS) $(CXXFLAGS) $(KOPT) -MMD -MP -c -o $@ $<

define archive
$(1): $(2)
	@rm -f $$@
	$$(call say,AR,$$@)
	$$(Q)$$(AR) rcs $$@ $$^
endef
$(eval $(call archive,$(BUILD)/libproto.a,$(PROTO_OBJ)))
$(eval $(call archive,$(BUILD)/libimport.a,$(IMPORT_OBJ)))
$(eval $(call archive,$(BUILD)/libkernels.a,$(KERNELS_OBJ)))
$(eval $(call archive,$(BUILD)/libcache.a,$(CACHE_OBJ)))
$(eval $(call archive,$(BUILD)/libdaemon.a,$(DAEMON_OBJ)))
$(eval $(call archive,$(BUILD)/liblens.a,$(LIBLENS_OBJ)))
$(eval $(call archive,$(BUILD)/libtest.a,$(TEST_LIB)))
$(eval $(call archive,$(BUILD)/libbench.a,$(BENCH_LIB)))

DAEMON_LIBS := -ldl -luv -linih -lsystemd -lmicrohttpd -ljansson -lxxhash $(JEMALLOC) -lm -pthread
CTL_LIBS    := -lzip -ljansson -lxxhash -lncursesw -ltinfo -lm -pthread

$(BUILD)/lensd: $(BUILD)/obj/daemon/main.o $(BUILD)/libdaemon.a $(BUILD)/libcache.a $(BUILD)/libkernels.a $(BUILD)/libproto.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/lensctl: $(CTL_OBJ) $(BUILD)/liblens.a $(BUILD)/libcache.a $(BUILD)/libimport.a $(BUILD)/libproto.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(CTL_LIBS)

# lensctl writes its own completion scripts.
COMPLETIONS := $(addprefix $(BUILD)/completion/lensctl.,bash zsh fish)
completions: $(COMPLETIONS)
$(BUILD)/completion/lensctl.%: $(BUILD)/lensctl
	@mkdir -p $(@D)
	$(Q)$(BUILD)/lensctl completion $* >$@.new && mv $@.new $@

$(BUILD)/liblens.so: $(LIBLENS_OBJ) client/liblens/lens.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,liblens.so.0 -Wl,--version-script=client/liblens/lens.map \
		-o $@ $(LIBLENS_OBJ)
	@ln -sf liblens.so $(BUILD)/liblens.so.0

# Man pages stand beside their programs as NAME.SECTION.in. A line @table@ is replaced by what `lensd --print-man table`
# prints: what is in tables of the program is written once. @DATADIR@ and the like are where `make install` puts things.
MAN_PAGES  := lensd.8 lensd.conf.5 lensctl.1 liblens.3
MAN_TABLES := settings events catalog
MAN_PLACES := $(BUILD)/man/.places
.PHONY: man always
man: $(addprefix $(BUILD)/man/,$(MAN_PAGES)) ## the man pages, in build/man/

$(addprefix $(BUILD)/man/,$(MAN_TABLES)): $(BUILD)/lensd
	@mkdir -p $(@D)
	$(Q)$(BUILD)/lensd --print-man $(@F) >$@
$(MAN_PLACES): always
	@mkdir -p $(@D)
	@echo '$(SYSCONFDIR) $(DATADIR) $(DOCDIR) $(VERSION)' | cmp -s - $@ || echo '$(SYSCONFDIR) $(DATADIR) $(DOCDIR) $(VERSION)' >$@
$(BUILD)/man/%: daemon/%.in $(addprefix $(BUILD)/man/,$(MAN_TABLES)) $(MAN_PLACES)
	$(call say,MAN,$@)
	$(Q)$(fill) $(foreach t,$(MAN_TABLES),-e '/^@$(t)@$$/{r $(@D)/$(t)' -e 'd}') $< >$@

$(BUILD)/man/lensctl.1: client/lensctl/lensctl.1.in $(BUILD)/lensctl
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)for part in commands flags; do $(BUILD)/lensctl __man $$part >$(@D)/lensctl.$$part || exit 1; done
	$(Q)sed -e 's|@VERSION@|$(VERSION)|g' -e '/^@commands@$$/{r $(@D)/lensctl.commands' -e 'd}' \
		-e '/^@flags@$$/{r $(@D)/lensctl.flags' -e 'd}' $< >$@
$(BUILD)/man/liblens.3: client/liblens/liblens.3.in
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)sed -e 's|@VERSION@|$(VERSION)|g' $< >$@

# A library that stands on its own: what it needs of kernels and proto is inside, only lens_cuda_open is seen.
# Not libproto.a: machines with a card often lack what its other parts are built with.
CUDA_ARCHIVES := $(BUILD)/libkernels.a $(call obj,proto/lens_error.c proto/options.c proto/dtype.c proto/quantize.c)
$(BUILD)/lens_cuda.so: $(CUDA_OBJ) $(CUDA_ARCHIVES) kernels/cuda/lens_cuda.map
	$(call say,LINK,$@)
	$(Q)$(CXX) $(CXXFLAGS) $(LDFLAGS) -shared -Wl,-z,defs -Wl,--version-script=kernels/cuda/lens_cuda.map \
		-o $@ $(CUDA_OBJ) $(CUDA_ARCHIVES) -L$(CUDA_LIB) -lcudadevrt -lcudart_static -ldl -lrt -lpthread -lm

$(BUILD)/emulated/lens_cuda.so: $(CUDA_EMULATED_OBJ) $(CUDA_ARCHIVES) tests/gpu/emulator/lens_cuda.map
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared $(if $(SAN),,-Wl,-z,defs) \
		-Wl,--version-script=tests/gpu/emulator/lens_cuda.map -o $@ $(CUDA_EMULATED_OBJ) $(CUDA_ARCHIVES) -lm -pthread

ifneq ($(CUDA),)
cuda: $(BUILD)/lens_cuda.so ## the CUDA backend, build/lens_cuda.so (needs nvcc)
else
cuda:
	@echo "no CUDA backend in this build ($(if $(SAN),a sanitizer's,no nvcc)): lensd runs on the processor"
endif

TEST_LIBS = $(BUILD)/libtest.a $(BUILD)/libdaemon.a $(BUILD)/libcache.a $(BUILD)/libimport.a $(BUILD)/libkernels.a \
            $(BUILD)/liblens.a $(BUILD)/libproto.a
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(TEST_OBJ) -Wl,--start-group $(TEST_LIBS) -Wl,--end-group -lcmocka -lzip $(DAEMON_LIBS)

EMULATOR_TEST_OBJ := $(EMULATOR_OBJ) $(BUILD)/emulated/obj/tests/gpu/emulator/test_kernels.cu.o
$(BUILD)/tests/unit/cuda_emulator_test: $(EMULATOR_TEST_OBJ)
$(BUILD)/tests/unit/cuda_emulator_test: TEST_OBJ := $(EMULATOR_TEST_OBJ)
# Plain arithmetic, tested where there is no card either.
CUDA_LAYOUT_OBJ := $(BUILD)/obj/kernels/cuda/layout.o
$(BUILD)/tests/unit/cuda_layout_test: $(CUDA_LAYOUT_OBJ)
$(BUILD)/tests/unit/cuda_layout_test: TEST_OBJ := $(CUDA_LAYOUT_OBJ)
CUDA_BACKEND_TESTS := $(patsubst %,$(BUILD)/tests/unit/%,cuda_score_test cuda_backend_test cuda_slots_test)
$(CUDA_BACKEND_TESTS): $(CUDA_EMULATED_OBJ)
$(CUDA_BACKEND_TESTS): TEST_OBJ := $(CUDA_EMULATED_OBJ)

# The doctor's findings, on machines made of files.
DOCTOR_OBJ   := $(call obj,$(wildcard client/lensctl/doctor*.c) $(addprefix client/lensctl/,output.c wrapped.c columns.c))
DOCTOR_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/doctor_*_test.c))
$(DOCTOR_TESTS): $(DOCTOR_OBJ)
$(DOCTOR_TESTS): TEST_OBJ := $(DOCTOR_OBJ)

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(BUILD)/libbench.a $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(BUILD)/libbench.a $(TEST_LIBS) -Wl,--end-group -lzip $(BENCH_LIBS) $(DAEMON_LIBS)

$(BUILD)/soak/soak: $(SOAK_OBJ) $(BUILD)/libbench.a $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(SOAK_OBJ) -Wl,--start-group $(BUILD)/libbench.a $(TEST_LIBS) -Wl,--end-group -lzip $(DAEMON_LIBS)

tests: $(UNIT_TESTS) $(BUILD)/soak/soak $(BUILD)/bench/synth emulated ## build the unit tests, the soak and the emulated card

ifneq ($(EMULATED),)
emulated: $(BUILD)/emulated/lens_cuda.so
else
emulated:
	@echo "no emulated card under ThreadSanitizer: its threads are fibers"
endif
benches: $(BENCHES) ## build the benchmarks

unit: all tests ## run the unit tests of this build
	$(PYTHON) tests/run.py --build $(BUILD) unit

e2e: all ## run the end-to-end tests against this build
	$(PYTHON) tests/run.py --build $(BUILD) e2e

# Python's own safetensors library, for the test that opens our packs with it.
TEST_VENV := build/test-venv/.ready

check: check-deps $(TEST_VENV) promtool ## everything CI runs: style, analysis, all tests plain, under ASan+UBSan and under TSan
	@tests/check.sh

# Not among CHECK_PACKAGES: see the script.
.PHONY: promtool
promtool: check-deps
	@tests/get-promtool.sh build/promtool || echo "no promtool: the tests that check config/'s rules with it will be skipped"

$(TEST_VENV): tests/e2e/requirements.txt | check-deps
	$(PYTHON) -m venv build/test-venv
	build/test-venv/bin/pip install -q -r $< || echo "no safetensors from PyPI: the test that opens packs with it will be skipped"
	@touch $@

format: ## rewrite all sources as clang-format says
	git ls-files '*.c' '*.h' '*.cc' '*.hpp' '*.cu' '*.cuh' | xargs clang-format -i

demo: deps ## real sentences through a running lensd: concepts token by token, and a latency table
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@tests/real/demo.sh $(BUILD)

bench: bench-deps ## the CPU benchmarks, with their floors and ratios (about ten minutes; figures go to build/bench)
	@$(MAKE) --no-print-directory -s -j$$(nproc) all benches
	@tests/bench/run.sh $(BUILD)

soak: deps ## millions of rows of clients that come, go and die (ROWS=10000000): nothing leaks, drifts or goes missing
	@$(MAKE) --no-print-directory -s -j$$(nproc) all $(BUILD)/soak/soak $(BUILD)/bench/synth
	$(BUILD)/soak/soak --rows $(ROWS)

real-lenses: ## train the demo's lenses anew (Python, PyTorch; not part of check)
	tests/real/make-lenses.sh

help: ## this list
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | \
		awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo "Variables: V=1 BUILD=dir SAN=address,undefined|thread WERROR=1 ROWS=n CC= NVCC= CUDA= PREFIX= DESTDIR="

clean: ## remove build/
	rm -rf $(BUILD)

include tests/gpu/build.mk
include systemd/install.mk

-include $(shell find $(BUILD)/obj $(BUILD)/emulated/obj -name '*.d' 2>/dev/null)

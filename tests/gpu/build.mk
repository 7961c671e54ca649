# Programs that run on a machine with a card: they need CUDA, a C compiler and make, and none of the other libraries.
# Included by the Makefile.

GPU_SUITE := $(wildcard tests/unit/support/conformance_*.c)
GPU_CHECK := $(wildcard tests/gpu/*.c) tests/gpu/standalone/cmocka.c $(GPU_SUITE) \
             tests/bench/support/bench.c
gpu_obj = $(patsubst %.c,$(BUILD)/gpu/obj/%.o,$(1))
# Of proto, what needs no library: the rest of it reads and writes pack files.
GPU_PROTO := $(call obj,proto/lens_error.c proto/options.c proto/dtype.c proto/quantize.c)

$(BUILD)/gpu/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -Itests/gpu/standalone $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gpu/conformance: $(call gpu_obj,$(GPU_CHECK)) $(BUILD)/libkernels.a $(GPU_PROTO)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ldl -lm -pthread

# The benchmarks, twice: on the card, and on the emulated one, where they only show that they run. The backend is loaded
# as a library of its own in both.
GPU_BENCH  := $(filter-out tests/gpu/bench/card%,$(wildcard tests/gpu/bench/*.c)) \
              $(addprefix tests/bench/support/,bench.c random.c planted.c tree.c)
GPU_CARD   := tests/gpu/bench/card.c tests/gpu/bench/card_gemm.c
GPU_BENCH_OBJ := $(call obj,$(GPU_BENCH) $(GPU_CARD)) $(BUILD)/obj/tests/gpu/bench/card_read.cu.o
EMULATED_BENCH_OBJ := $(patsubst %.c,$(BUILD)/emulated/obj/%.o,$(GPU_BENCH) $(GPU_CARD)) \
                      $(BUILD)/emulated/obj/tests/gpu/bench/card_read.cu.o
# cuBLAS is only compared with; a toolkit may come without it.
GPU_CUBLAS := $(if $(wildcard $(CUDA_LIB)/libcublas.so),-lcublas)
$(BUILD)/obj/tests/gpu/bench/card%: ARCH := $(if $(CUDA),-isystem $(CUDA_HOME)/include)
$(BUILD)/obj/tests/gpu/bench/card_gemm.o: KOPT := $(if $(GPU_CUBLAS),-DGPU_BENCH_CUBLAS)
# tree.c can also read a pack; what that needs isn't linked, and nothing calls it.
GPU_BENCH_LINK := -Wl,--gc-sections -ldl -lm -pthread
$(BUILD)/obj/tests/bench/support/tree.o $(BUILD)/emulated/obj/tests/bench/support/tree.o: KOPT := -ffunction-sections

$(BUILD)/gpu/bench_gpu: $(GPU_BENCH_OBJ) $(BUILD)/libkernels.a $(GPU_PROTO)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(CXXFLAGS) $(LDFLAGS) -o $@ $^ -L$(CUDA_LIB) -Wl,-rpath,$(CUDA_LIB) $(GPU_CUBLAS) -lcudart_static -lrt $(GPU_BENCH_LINK)

$(BUILD)/emulated/bench_gpu: $(EMULATED_BENCH_OBJ) $(EMULATOR_OBJ) $(BUILD)/libkernels.a $(GPU_PROTO)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GPU_BENCH_LINK)

tests: $(BUILD)/gpu/conformance $(if $(EMULATED),$(BUILD)/emulated/bench_gpu)

.PHONY: gpu-check gpu-sanitize bench-gpu
gpu-check: ## on a machine with a card: conformance of the CUDA backend, then compute-sanitizer (waived without a card)
	@BUILD=$(BUILD) tests/gpu/check.sh $(BUILD)/gpu

gpu-sanitize: ## compute-sanitizer alone: memcheck, racecheck, initcheck, synccheck
	@BUILD=$(BUILD) tests/gpu/check.sh $(BUILD)/gpu --sanitize-only

bench-gpu: ## on a machine with a card: the CUDA backend's benchmarks with their floors (waived without a card)
	@BUILD=$(BUILD) tests/gpu/bench.sh $(BUILD)/bench

-include $(shell find $(BUILD)/gpu/obj -name '*.d' 2>/dev/null)

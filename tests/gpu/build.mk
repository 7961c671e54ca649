# Programs that run on a machine with a card: they need CUDA, a C compiler and make, and none of the other libraries.
# Included by the Makefile.

GPU_SUITE := $(wildcard tests/unit/support/conformance_*.c)
GPU_CHECK := $(filter-out tests/gpu/bench_%,$(wildcard tests/gpu/*.c)) tests/gpu/standalone/cmocka.c $(GPU_SUITE) \
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

.PHONY: gpu-check gpu-sanitize
gpu-check: ## on a machine with a card: conformance of the CUDA backend, then compute-sanitizer (waived without a card)
	@BUILD=$(BUILD) tests/gpu/check.sh $(BUILD)/gpu

gpu-sanitize: ## compute-sanitizer alone: memcheck, racecheck, initcheck, synccheck
	@BUILD=$(BUILD) tests/gpu/check.sh $(BUILD)/gpu --sanitize-only

-include $(shell find $(BUILD)/gpu/obj -name '*.d' 2>/dev/null)

# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile. `make help` lists the targets.
#
#   B=DIR       build folder (default: build, build/asan, build/tsan)
#   SAN=1       AddressSanitizer and UBSan;  SAN=thread  ThreadSanitizer
#   STATIC=0    link dynamically             V=1         show commands
#   WERROR=1    warnings are errors

SAN    ?= 0
STATIC ?= 1
WERROR ?= 0
V      ?= 0
CC     ?= cc
CLANG  ?= clang
PREFIX ?= /usr/local
Q       = $(if $(filter 1,$(V)),,@)
B      ?= $(if $(filter 1,$(SAN)),build/asan,$(if $(filter thread,$(SAN)),build/tsan,build))

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
	-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wpointer-arith \
	-Wwrite-strings -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough \
	-Wnull-dereference -Wno-missing-field-initializers -Wlogical-op \
	-Wduplicated-cond -Wduplicated-branches -Wtrampolines -Wjump-misses-init \
	$(if $(filter 1,$(WERROR)),-Werror)
# Flags that not every compiler has.
probe = $(shell $(CC) $(1) -c -x c /dev/null -o /dev/null 2>/dev/null && echo $(1))
PROBED := $(foreach f,-fcf-protection=full -ftrivial-auto-var-init=zero \
	-fzero-call-used-regs=used-gpr -fstrict-flex-arrays=3,$(call probe,$(f)))
BASE_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -g -O2 -fno-strict-aliasing \
	-fno-common -fstack-protector-strong -fstack-clash-protection \
	$(PROBED) -pthread
FORTIFY = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
HARDEN_LD = -Wl,-z,relro,-z,now,-z,noexecstack

ifeq ($(SAN),1)
MODE_CFLAGS = -fPIE -fsanitize=address,undefined -fno-sanitize-recover=all
MODE_LDFLAGS = -pie -fsanitize=address,undefined
else ifeq ($(SAN),thread)
MODE_CFLAGS = -fPIE -fsanitize=thread
MODE_LDFLAGS = -pie -fsanitize=thread
else ifeq ($(STATIC),1)
MODE_CFLAGS = -fPIE $(FORTIFY)
MODE_LDFLAGS = -static-pie $(HARDEN_LD)
else
MODE_CFLAGS = -fPIE $(FORTIFY)
MODE_LDFLAGS = -pie $(HARDEN_LD)
endif

ALL_CFLAGS  = $(BASE_CFLAGS) $(MODE_CFLAGS) $(WARN) $(CFLAGS)
ALL_LDFLAGS = $(MODE_LDFLAGS) -pthread $(LDFLAGS)
TEST_LDFLAGS = $(filter-out -static-pie,$(MODE_LDFLAGS)) \
	$(if $(filter -static-pie,$(MODE_LDFLAGS)),-pie) -pthread $(LDFLAGS)

# Layers, lowest first; an archive each, so that a test links what its layer sees.
LAYERS = base vmm virtio snapshot api
src_base   = $(wildcard base/*.c)
src_vmm    = $(wildcard vmm/*.c vmm/x86/*.c)
src_virtio = $(wildcard virtio/*.c virtio/mmds/*.c)
src_snapshot = $(wildcard snapshot/*.c)
src_api    = $(filter-out api/main.c,$(wildcard api/*.c))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
lib = $(patsubst %,$(B)/lib/%.a,$(1))
libs_base   = $(call lib,base)
libs_vmm    = $(call lib,vmm base)
libs_virtio = $(call lib,virtio vmm base)
libs_snapshot = $(call lib,snapshot virtio vmm base)
libs_api    = $(call lib,api snapshot virtio vmm base)
EXT_LIBS = $(CJSON) -luring -lsodium

CJSON = $(if $(filter -static-pie,$(MODE_LDFLAGS)),build/deps/libcjson.a,-lcjson)
CJSON_DEP = $(filter %.a,$(CJSON))

PROGRAMS = $(if $(wildcard api/main.c),$(B)/bin/mayfly)

all: $(PROGRAMS)

$(B)/bin/mayfly: $(B)/obj/api/main.o $(libs_api) $(CJSON_DEP)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(libs_api) $(EXT_LIBS)

build/deps/libcjson.a: tools/build-cjson.sh
	$(Q)tools/build-cjson.sh $@

define archive
$(B)/lib/$(1).a: $(call obj,$(src_$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive,$(l))))

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Unit tests: tests/<layer>/test_x.c is a cmocka program.
define unit
$(B)/tests/$(1)/%: $(B)/obj/tests/$(1)/%.o $(libs_$(1))
	@mkdir -p $$(@D)
	@echo "  LD      $$@"
	$(Q)$(CC) $(TEST_LDFLAGS) -o $$@ $$< $(libs_$(1)) -lcmocka -lcjson -luring -lsodium
endef
$(foreach l,$(LAYERS),$(eval $(call unit,$(l))))
UNIT = $(foreach l,$(LAYERS),$(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/$(l)/test_*.c)))
unit-programs: $(UNIT)

# Fuzz targets: clang's libFuzzer with ASan and UBSan.
FUZZ_SECONDS ?= 30
FUZZ = $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SRC = $(foreach l,$(LAYERS),$(src_$(l)))
build/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  FUZZ CC $<"
	$(Q)$(CLANG) -std=c11 -D_GNU_SOURCE -I. -g -O1 -pthread -DFUZZING \
		-fsanitize=fuzzer-no-link,address,undefined \
		-fno-sanitize-recover=all -MMD -MP -c -o $@ $<
build/fuzz/lib.a: $(patsubst %.c,build/fuzz/obj/%.o,$(FUZZ_SRC))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(FUZZ): build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o build/fuzz/lib.a
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined -pthread -o $@ $< \
		build/fuzz/lib.a -lcjson -luring -lsodium
fuzz-programs: $(FUZZ)

# The benchmarks' programs are linked like mayfly and use no layer of it.
PERF = $(addprefix $(B)/bin/,floor stopwatch diskfloor netfloor sockfloor)
$(B)/bin/diskfloor: PERF_LIBS = -luring
$(PERF): $(B)/bin/%: $(B)/obj/perf/%.o
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(PERF_LIBS)

include guest/rules.mk guest/linux/rules.mk

# ---- what people type: each installs what it needs, then goes on ----

ASAN = $(patsubst %.c,build/asan/%,$(wildcard tests/guest/test_*.c)) \
	$(foreach l,$(LAYERS),$(patsubst tests/%.c,build/asan/tests/%,$(wildcard tests/$(l)/test_*.c)))
TSAN = $(foreach t,base/test_loop base/test_loop_socket base/test_worker \
	vmm/test_vm vmm/test_probe vmm/test_pager virtio/test_threads virtio/test_threads_blk \
	virtio/test_threads_net virtio/test_threads_vsock virtio/test_vsock_gate \
	virtio/test_vsock_reset,build/tsan/tests/$(t))
BOOT = tests/golden/run.py $(foreach t,http_contract api_contract \
	start_contract process_contract net_contract contract_epoll nano \
	nano_diff nano_live nano_live_diff nano_override nano_pager \
	nano_epoll nano_net nano_vsock nano_mmds \
	syscalls linux_boot linux_net,tests/boot/$(t).py)
include jailer/rules.mk base/filters/rules.mk tests/soak.mk
need = @tools/need.sh $(1)
again = @$(MAKE) --no-print-directory

test soak:
	$(call need,@build @test @linux)
	$(again) all guests test-tools
	$(again) SAN=1 unit-programs
	$(again) SAN=thread $(TSAN)
	$(again) run-$@

test-tools: $(B)/bin/callwatch $(B)/tests/no_uring
$(B)/bin/callwatch: $(wildcard tools/syscalls/*.[ch]) base/fds.h
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -g -O2 $(WARN) -o $@ $(filter %.c,$^) -lseccomp
$(B)/tests/no_uring: tests/boot/no_uring.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -g -O2 $(WARN) -o $@ $<

guests: $(NANO) linux-guest

demo:
	$(call need,@build @demo)
	$(if $(filter nano,$(GUEST)),,$(call need,@linux))
	$(again) all $(NANO) $(PERF) $(if $(filter nano,$(GUEST)),,linux-guest)
	@tools/demo.sh $(GUEST)

bench:
	$(call need,@build @test)
	$(again) all $(NANO) $(PERF)
	@perf/bench.py --build $(B)
	@perf/bench_snapshot.py --build $(B) $(if $(wildcard $(B)/guest/vmlinux),--linux)
	@perf/bench_live.py --build $(B)

fuzz:
	$(call need,@fuzz)
	$(again) fuzz-programs
	@tools/run-fuzz.sh $(FUZZ_SECONDS) $(FUZZ)

check:
	$(call need,@check)
	@tools/check.sh
fmt:
	$(call need,clang-format)
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: all
	install -D -m 755 $(B)/bin/mayfly $(DESTDIR)$(PREFIX)/bin/mayfly
	install -m 755 $(B)/bin/mayfly-jailer $(B)/bin/mayflyctl $(DESTDIR)$(PREFIX)/bin/
	ln -sf mayfly $(DESTDIR)$(PREFIX)/bin/firecracker
	ln -sf mayfly-jailer $(DESTDIR)$(PREFIX)/bin/jailer

clean:
	rm -rf build

.PHONY: all test soak test-tools guests demo bench fuzz check \
	fmt install clean unit-programs fuzz-programs linux-guest
.SECONDARY:
-include $(shell find $(B)/obj build/fuzz/obj build/guest/obj -name '*.d' 2>/dev/null)

# SPDX-License-Identifier: Apache-2.0
# mayfly-jailer, its tests: part of the Makefile, behind its rules for layers.

src_jailer  = $(filter-out jailer/main.c,$(wildcard jailer/*.c))
libs_jailer = $(call lib,jailer base)
$(eval $(call archive,jailer))

# capng_change_id(), which is not called, would drag the name service into a
# static program.
comma = ,
NO_NSS = $(if $(filter -static-pie,$(MODE_LDFLAGS)),\
	-Wl$(comma)--defsym=getpwuid=0 -Wl$(comma)--defsym=initgroups=0)
all: $(B)/bin/mayfly-jailer
$(B)/bin/mayfly-jailer: $(B)/obj/jailer/main.o $(libs_jailer)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(ALL_LDFLAGS) $(NO_NSS) -o $@ $< $(libs_jailer) -lcap-ng

JAILER_TESTS = $(patsubst tests/%.c,tests/%,$(wildcard tests/jailer/test_*.c))
ASAN += $(addprefix build/asan/,$(JAILER_TESTS))
BOOT += tests/boot/jailer.py
unit-programs: $(addprefix $(B)/,$(JAILER_TESTS))
$(B)/tests/jailer/%: $(B)/obj/tests/jailer/%.o $(libs_jailer)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(TEST_LDFLAGS) -o $@ $< $(libs_jailer) -lcmocka -lcap-ng

# Runs in a jail, so it is linked as what belongs there.
test-tools: $(B)/tests/jail_probe
$(B)/tests/jail_probe: tests/boot/jail_probe.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -g -O2 $(WARN) -static-pie -fPIE -o $@ $<
test-tools: $(B)/tests/jail_escape
$(B)/tests/jail_escape: $(wildcard tests/jailer/escape/*.[ch])
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -I. -g -O2 $(WARN) -static-pie -fPIE -o $@ $(filter %.c,$^)

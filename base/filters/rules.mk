# SPDX-License-Identifier: Apache-2.0
# Filters of system calls, mayflyctl and what tests both: part of the Makefile,
# behind its rules for layers.

src_ctl  = $(filter-out ctl/main.c,$(wildcard ctl/*.c))
# Of vmm: registers, CPUID and RAM, which check-host tries, as a load does.
libs_ctl = $(call lib,ctl snapshot vmm base)
$(eval $(call archive,ctl))

TABLES    = $(wildcard base/filters/*.tbl)
TABLE_SRC = $(addprefix tools/syscalls/,table.c consts.c)
MKFILTERS = $(B)/bin/mkfilters
tool_cc   = mkdir -p $(@D); echo "  CC      $@"; \
	$(CC) -std=c11 -D_GNU_SOURCE -I. -g -O2 $(WARN) -o $@

$(MKFILTERS): tools/filters/mkfilters.c $(TABLE_SRC) ctl/policy.c base/err.c \
		tools/syscalls/table.h ctl/policy.h base/fds.h base/filter.h
	$(Q)$(tool_cc) $(filter %.c,$^) -lseccomp

$(B)/gen/filters.c: $(MKFILTERS) $(TABLES)
	@mkdir -p $(@D)
	$(Q)$(MKFILTERS) base/filters >$@.tmp && mv $@.tmp $@
$(B)/gen/tables.c: $(MKFILTERS) $(TABLES)
	@mkdir -p $(@D)
	$(Q)$(MKFILTERS) -l base/filters >$@.tmp && mv $@.tmp $@

# Part of base: in static programs the filters, in others none.
$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-overlength-strings -MMD -MP -c -o $@ $<
$(B)/lib/base.a: $(if $(filter -static-pie,$(MODE_LDFLAGS)),$(B)/obj/gen/filters.o,$(B)/obj/base/filters/none.o)
$(B)/lib/ctl.a: $(B)/obj/gen/tables.o

all: $(B)/bin/mayflyctl
$(B)/bin/mayflyctl: $(B)/obj/ctl/main.o $(libs_ctl)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(libs_ctl) -lseccomp

CTL_TESTS = $(patsubst tests/%.c,tests/%,$(wildcard tests/ctl/test_*.c))
ASAN += $(addprefix build/asan/,$(CTL_TESTS))
unit-programs: $(addprefix $(B)/,$(CTL_TESTS))
$(B)/tests/ctl/%: $(B)/obj/tests/ctl/%.o $(libs_ctl)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(TEST_LDFLAGS) -o $@ $< $(libs_ctl) -lcmocka -lseccomp

BOOT += tests/boot/filters.py tests/boot/ctl_snapshot.py
test-tools: $(B)/tests/filter_probe
$(B)/tests/filter_probe: tests/boot/filter_probe.c $(TABLE_SRC) \
		$(B)/gen/filters.c base/filter.c base/err.c base/crc32c.c
	$(Q)$(tool_cc) $(filter %.c,$^) -lseccomp

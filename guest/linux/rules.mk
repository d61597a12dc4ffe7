# SPDX-License-Identifier: Apache-2.0
# The Linux guest: part of the Makefile.

# musl: small, and it never uses registers that the guest's kernel may not save.
GUEST_CC ?= musl-gcc
INIT_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -Os -s -static \
	-fno-strict-aliasing $(WARN)
INIT_SRC = $(wildcard guest/init/*.c)
# The guest's shell and network programs: Debian's, statically linked.
BUSYBOX ?= /bin/busybox
LINUX_GUEST = $(addprefix build/guest/,vmlinux initramfs.cpio root.ext4)

linux-guest:
	@tools/need.sh musl-tools e2fsprogs busybox-static
	@$(MAKE) --no-print-directory $(LINUX_GUEST)

build/guest/init: $(INIT_SRC) $(wildcard guest/init/*.h) guest/linux/rules.mk
	@mkdir -p $(@D)
	@echo "  CC      $@"
	$(Q)$(GUEST_CC) $(INIT_CFLAGS) -o $@ $(INIT_SRC)
build/guest/initramfs.cpio: guest/linux/mkinitramfs.sh build/guest/init $(BUSYBOX)
	$(Q)$^ $@
build/guest/root.ext4: guest/linux/mkroot.sh build/guest/init $(BUSYBOX)
	$(Q)$^ $@
build/guest/vmlinux: guest/linux/build.sh guest/linux/config-6.1-x86_64 \
		$(wildcard guest/linux/*.patch)
	$(Q)$< $@

# Unit tests of what of init runs on the host.
GUEST_UNIT = $(patsubst %.c,$(B)/%,$(wildcard tests/guest/test_*.c))
unit-programs: $(GUEST_UNIT)
$(GUEST_UNIT): $(B)/tests/guest/%: $(call obj,tests/guest/%.c \
		$(filter-out guest/init/main.c,$(INIT_SRC)))
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(TEST_LDFLAGS) -o $@ $^ -lcmocka

.PHONY: linux-guest

# SPDX-License-Identifier: Apache-2.0
# What runs inside: part of the Makefile.

# guest/nano: freestanding, one program; nano-pvh.elf differs by its ELF note.
NANO_CFLAGS = -std=c11 -I. -g -O2 -ffreestanding -fno-pie -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
	-fno-strict-aliasing -fno-common -fno-asynchronous-unwind-tables \
	$(WARN) -Wno-unused-parameter
NANO_LDFLAGS = -nostdlib -static -Wl,-T,guest/nano/nano.ld \
	-Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--build-id=none
NANO_OBJ = $(patsubst guest/nano/%.c,build/guest/obj/%.o,$(wildcard guest/nano/*.c))
NANO = build/guest/nano.elf build/guest/nano-pvh.elf
build/guest/obj/%.o: guest/nano/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(NANO_CFLAGS) -MMD -MP -c -o $@ $<
build/guest/obj/entry.o: guest/nano/entry.S guest/nano/asm.h Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -c -o $@ $<
build/guest/obj/entry-pvh.o: guest/nano/entry.S guest/nano/asm.h Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -DNANO_PVH -c -o $@ $<
build/guest/nano.elf: build/guest/obj/entry.o
build/guest/nano-pvh.elf: build/guest/obj/entry-pvh.o
$(NANO): $(NANO_OBJ) guest/nano/nano.ld
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(NANO_LDFLAGS) -o $@ $(filter %.o,$^)

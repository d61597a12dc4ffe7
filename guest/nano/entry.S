/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry.S: from the monitor's entry point, or from a start-up IPI, to
 * nano_main() at CPL 3, and the way back into CPL 0 for interrupts, exceptions
 * and call0().
 *
 * The very first thing a guest does is send one newline to COM1: the host times
 * that byte, and it leaves every later line at the start of a line.
 */
#include "guest/nano/asm.h"

#define CR0_BOOT  0x80010033 /* PG WP NE ET MP PE */
#define CR4_PAE	  0x20
#define MSR_EFER  0xc0000080
#define EFER_LME  0x100

#ifdef NANO_PVH
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start32
#endif

	.section .text.start, "ax", @progbits
	.macro first_byte
	mov $PORT_COM1, %dx
	mov $'\n', %al
	out %al, %dx
	.endm

/* 64-bit Linux protocol: long mode, rsi = zero page. */
	.code64
	.globl start64
start64:
	first_byte
	mov %rsi, boot_zero_page
	lgdt gdt_pointer
	mov $pml4, %eax
	mov %rax, %cr3
	jmp long_mode

/* PVH: 32-bit protected mode without paging, ebx = start info. */
	.code32
start32:
	first_byte
	mov %ebx, boot_start_info
	lgdt gdt_pointer
to_long_mode:
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov $CR0_BOOT, %eax
	mov %eax, %cr0
	ljmp $SEL_CODE0, $long_mode

	.code64
long_mode:
	lidt idt_pointer
	mov $1, %ebx
	lock xadd %ebx, cpus_started
	imul $CPU_BYTES, %rbx, %r12
	lea cpus + CPU_STACK0_TOP(%r12), %rsp
	mov %ebx, %edi
	call cpu_init
	/* The interrupt controller of old must not send its vectors. */
	mov $0xff, %al
	out %al, $0x21
	out %al, $0xa1
	mov %ebx, %edi
	lea cpus + CPU_STACK3_TOP - 8(%r12), %rax
	push $SEL_DATA3
	push %rax
	push $RFLAGS_CPL3
	push $SEL_CODE3
	push $cpu_main
	iretq

/* Copied to GPA_TRAMPOLINE; real mode, cs = GPA_TRAMPOLINE / 16. */
	.code16
	.globl trampoline
trampoline:
	cli
	lgdtl %cs:(gdt_pointer32 - trampoline)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $SEL_CODE32, $to_long_mode
gdt_pointer32:
	.word gdt_end - gdt - 1
	.long gdt
	.org trampoline + TRAMPOLINE_BYTES

/*
 * void call0(void (*fn)(void *), void *arg): run fn at CPL 0 with
 * interrupts off. The undefined instruction is the gate: unlike software
 * interrupts and SYSCALL it works on every host.
 */
	.text
	.code64
	.globl call0
call0:
	ud2
	ret

ud_entry:
	cmpq $call0, (%rsp)
	jne stub_6
	addq $2, (%rsp)
	push %rbp			/* aligns the stack */
	mov %rdi, %rax
	mov %rsi, %rdi
	call *%rax
	pop %rbp
	iretq
	.globl ud_entry

/* One stub a vector, STUB_BYTES each: exceptions, then interrupts. */
	.balign STUB_BYTES
	.globl stubs
stubs:
	.set vector, 0
	.rept 32
	.balign STUB_BYTES
	.if vector == 6
stub_6:
	.endif
	/* Those that push an error code themselves: 8 10-14 17 21 29 30. */
	.if ((0x60227d00 >> vector) & 1) == 0
	push $0
	.endif
	push $vector
	jmp exception
	.set vector, vector + 1
	.endr
	.rept N_VECTORS - 32
	.balign STUB_BYTES
	push $vector
	jmp interrupt
	.set vector, vector + 1
	.endr

/* Leave word that the interrupt came; the code at CPL 3 does the rest. */
	.balign STUB_BYTES
interrupt:
	push %rax
	mov 8(%rsp), %rax
	lock incl irq_count(,%rax,4)
	mov $(GPA_LAPIC + LAPIC_EOI), %eax
	movl $0, (%rax)
	pop %rax
	add $8, %rsp
	iretq

/* Note what happened and go on in fault_landing() at CPL 3; no way back. */
exception:
	pop fault_info			/* vector */
	pop fault_info + 8		/* error code */
	mov (%rsp), %rax
	mov %rax, fault_info + 16	/* rip */
	mov %cr2, %rax
	mov %rax, fault_info + 24
	movq $fault_landing, (%rsp)
	movq $SEL_CODE3, 8(%rsp)
	movq $RFLAGS_CPL3, 16(%rsp)
	andq $-16, 24(%rsp)
	subq $8, 24(%rsp)
	movq $SEL_DATA3, 32(%rsp)
	iretq

	.data
	.balign 8
	.globl gdt
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* SEL_CODE0 */
	.quad 0x00cf93000000ffff	/* data, CPL 0 */
	.quad 0x00affb000000ffff	/* SEL_CODE3 */
	.quad 0x00cff3000000ffff	/* SEL_DATA3 */
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.fill MAX_CPUS * 2, 8, 0
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
idt_pointer:
	.word 256 * 16 - 1
	.quad idt

/*
 * Page tables for the first 4 GiB, ready made because CPL 0 is slow on some
 * hosts: 2 MiB pages, user-accessible, uncached from 3 GiB.
 */
	.balign 4096
	.globl pml4, pdpt
pml4:
	.quad pdpt + 7
	.fill 511, 8, 0
pdpt:
	.quad pd + 0x7, pd + 0x1007, pd + 0x2007, pd + 0x3007
	.fill 508, 8, 0
pd:
	.set page, 0
	.rept 1536
	.quad (page << 21) + 0xe7
	.set page, page + 1
	.endr
	.rept 512
	.quad (page << 21) + 0xff
	.set page, page + 1
	.endr

	.section .note.GNU-stack, "", @progbits

/* SPDX-License-Identifier: Apache-2.0 */
/* asm.h: numbers that C and assembly share. */
#ifndef NANO_ASM_H
#define NANO_ASM_H

#define SEL_CODE0  0x08
#define SEL_CODE3  0x1b /* with RPL 3 */
#define SEL_DATA3  0x23
#define SEL_CODE32 0x28
#define SEL_TSS	   0x30 /* of CPU 0; 16 bytes each */

#define MAX_CPUS 40 /* more than any monitor of ours starts */

/* A CPU's block: the stack for CPL 0, the stack for CPL 3, the TSS. */
#define CPU_BYTES      16384
#define CPU_STACK0_TOP 4096
#define CPU_STACK3_TOP 14848

#define STUB_BYTES 16
#define N_VECTORS  0x50 /* the last one is the spurious one */
#define VEC_GSI0   0x20 /* GSI n is vector 0x20 + n */
#define VEC_TIMER  0x40

#define GPA_TRAMPOLINE	 0x8000
#define TRAMPOLINE_BYTES 64
#define GPA_LAPIC	 0xfee00000
#define LAPIC_EOI	 0xb0

#define PORT_COM1 0x3f8
#define COM1_FCR  2

#define RFLAGS_CPL3 0x202 /* interrupts on */

#endif

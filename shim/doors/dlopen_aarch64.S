/* void* dlopen(const char*, int), void* dlmopen(Lmid_t, const char*, int): see dlopen.hpp. */
    .text
    .macro  opener name, before
    .globl  \name
    .type   \name, %function
    .p2align 4
\name:
    .cfi_startproc
    stp     x29, x30, [sp, #-48]!
    .cfi_def_cfa_offset 48
    .cfi_offset 29, -48
    .cfi_offset 30, -40
    mov     x29, sp
    stp     x0, x1, [sp, #16]
    str     x2, [sp, #32]
    bl      \before
    mov     x16, x0
    ldp     x0, x1, [sp, #16]
    ldr     x2, [sp, #32]
    ldp     x29, x30, [sp], #48
    br      x16                     /* the caller stays the caller */
    .cfi_endproc
    .size   \name, .-\name
    .endm

    opener  dlopen, chronos_before_dlopen
    opener  dlmopen, chronos_before_dlmopen
    .section .note.GNU-stack, "", %progbits

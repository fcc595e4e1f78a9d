/* OpenCL's functions by their exported names: see symbols.hpp. Each jumps to where all callers go, if
   that is known, or asks where its caller is to go, whatever the arguments are. */
    .text
    .set    number, 0

    .macro  symbol name
    .globl  \name
    .type   \name, %function
    .p2align 4
\name:
    .cfi_startproc
    adrp    x16, chronos_symbol_shortcuts + 8 * number
    ldr     x16, [x16, #:lo12:chronos_symbol_shortcuts + 8 * number]
    cbz     x16, 1f
    br      x16
1:  mov     w16, #number
    b       forward
    .cfi_endproc
    .size   \name, .-\name
    .set    number, number + 1
    .endm

    .type   forward, %function
    .p2align 4
forward:
    .cfi_startproc
    stp     x29, x30, [sp, #-80]!
    .cfi_def_cfa_offset 80
    .cfi_offset 29, -80
    .cfi_offset 30, -72
    mov     x29, sp
    stp     x0, x1, [sp, #16]
    stp     x2, x3, [sp, #32]
    stp     x4, x5, [sp, #48]
    stp     x6, x7, [sp, #64]
    mov     w0, w16
    mov     x1, x30                 /* the return address: who calls */
    bl      chronos_symbol_target
    mov     x16, x0
    ldp     x0, x1, [sp, #16]
    ldp     x2, x3, [sp, #32]
    ldp     x4, x5, [sp, #48]
    ldp     x6, x7, [sp, #64]
    ldp     x29, x30, [sp], #80
    br      x16
    .cfi_endproc
    .size   forward, .-forward

#define CHRONOS_ENTRY(name, since, ...) symbol name;
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) symbol name;
#include "shim/extensions.def"
    symbol  clIcdGetPlatformIDsKHR

    .section .note.GNU-stack, "", %progbits

/* OpenCL's functions by their exported names: see symbols.hpp. Each jumps to where all callers go, if
   that is known, or asks where its caller is to go, whatever the arguments are. */
    .text
    .set    number, 0

    .macro  symbol name
    .globl  \name
    .type   \name, @function
    .p2align 4
\name:
    .cfi_startproc
    endbr64
    movq    8 * number + chronos_symbol_shortcuts(%rip), %rax
    testq   %rax, %rax
    jz      1f
    jmp     *%rax
1:  movl    $number, %eax
    jmp     forward
    .cfi_endproc
    .size   \name, .-\name
    .set    number, number + 1
    .endm

    .type   forward, @function
    .p2align 4
forward:
    .cfi_startproc
    .irp    register, rdi, rsi, rdx, rcx, r8, r9
    pushq   %\register
    .cfi_adjust_cfa_offset 8
    .endr
    movq    48(%rsp), %rsi          /* the return address: who calls */
    movl    %eax, %edi
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    call    chronos_symbol_target
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    .irp    register, r9, r8, rcx, rdx, rsi, rdi
    popq    %\register
    .cfi_adjust_cfa_offset -8
    .endr
    jmp     *%rax
    .cfi_endproc
    .size   forward, .-forward

#define CHRONOS_ENTRY(name, since, ...) symbol name;
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) symbol name;
#include "shim/extensions.def"
    symbol  clIcdGetPlatformIDsKHR

    .section .note.GNU-stack, "", @progbits

/* void* dlsym(void* handle, const char* name): see dlsym.hpp. */
    .text
    .globl  dlsym
    .type   dlsym, @function
    .p2align 4
dlsym:
    .cfi_startproc
    endbr64
    testq   %rsi, %rsi
    jz      .Lreal
    cmpb    $'c', (%rsi)            /* "cl": everything of ours begins so */
    jne     .Lreal
    cmpb    $'l', 1(%rsi)
    jne     .Lreal
    pushq   %rdi
    .cfi_adjust_cfa_offset 8
    pushq   %rsi
    .cfi_adjust_cfa_offset 8
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    call    chronos_dlsym_answer
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq    %rsi
    .cfi_adjust_cfa_offset -8
    popq    %rdi
    .cfi_adjust_cfa_offset -8
    testq   %rax, %rax
    jz      .Lreal
    ret
.Lreal:
    pushq   %rdi
    .cfi_adjust_cfa_offset 8
    pushq   %rsi
    .cfi_adjust_cfa_offset 8
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    call    chronos_dlsym_real
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq    %rsi
    .cfi_adjust_cfa_offset -8
    popq    %rdi
    .cfi_adjust_cfa_offset -8
    jmp     *%rax                   /* the caller stays the caller */
    .cfi_endproc
    .size   dlsym, .-dlsym
    .section .note.GNU-stack, "", @progbits

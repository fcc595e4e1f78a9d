/* void* dlopen(const char*, int), void* dlmopen(Lmid_t, const char*, int): see dlopen.hpp. */
    .text
    .globl  dlopen
    .type   dlopen, @function
    .p2align 4
dlopen:
    .cfi_startproc
    endbr64
    testl   $8, %esi                /* RTLD_DEEPBIND */
    jnz     1f
    movq    chronos_next_dlopen(%rip), %rax
    testq   %rax, %rax
    jz      1f
    jmp     *%rax
1:  pushq   %rdi
    .cfi_adjust_cfa_offset 8
    pushq   %rsi
    .cfi_adjust_cfa_offset 8
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    call    chronos_before_dlopen
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq    %rsi
    .cfi_adjust_cfa_offset -8
    popq    %rdi
    .cfi_adjust_cfa_offset -8
    jmp     *%rax                   /* the caller stays the caller */
    .cfi_endproc
    .size   dlopen, .-dlopen

    .globl  dlmopen
    .type   dlmopen, @function
    .p2align 4
dlmopen:
    .cfi_startproc
    endbr64
    pushq   %rdi
    .cfi_adjust_cfa_offset 8
    pushq   %rsi
    .cfi_adjust_cfa_offset 8
    pushq   %rdx
    .cfi_adjust_cfa_offset 8
    call    chronos_before_dlmopen
    popq    %rdx
    .cfi_adjust_cfa_offset -8
    popq    %rsi
    .cfi_adjust_cfa_offset -8
    popq    %rdi
    .cfi_adjust_cfa_offset -8
    jmp     *%rax
    .cfi_endproc
    .size   dlmopen, .-dlmopen
    .section .note.GNU-stack, "", @progbits

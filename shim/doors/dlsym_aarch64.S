/* void* dlsym(void* handle, const char* name): see dlsym.hpp. */
    .text
    .globl  dlsym
    .type   dlsym, %function
    .p2align 4
dlsym:
    .cfi_startproc
    stp     x29, x30, [sp, #-32]!
    .cfi_def_cfa_offset 32
    .cfi_offset 29, -32
    .cfi_offset 30, -24
    mov     x29, sp
    stp     x0, x1, [sp, #16]
    cbz     x1, .Lreal
    ldrb    w2, [x1]
    cmp     w2, #'c'
    b.ne    .Lreal
    ldrb    w2, [x1, #1]
    cmp     w2, #'l'
    b.ne    .Lreal
    bl      chronos_dlsym_answer
    cbz     x0, .Lreal
    ldp     x29, x30, [sp], #32
    ret
.Lreal:
    bl      chronos_dlsym_real
    mov     x16, x0
    ldp     x0, x1, [sp, #16]
    ldp     x29, x30, [sp], #32
    br      x16                     /* the caller stays the caller */
    .cfi_endproc
    .size   dlsym, .-dlsym
    .section .note.GNU-stack, "", %progbits

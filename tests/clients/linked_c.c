/* A C program linked with -lOpenCL. */
#include "hold_buffers.h"

int main(int argc, char** argv) { return hold_buffers(argc, argv); }

/* A library that uses OpenCL, for programs that know nothing of it: linked to whatever it is to
 * call, opened by open_c. */
#include "hold_buffers.h"

__attribute__((visibility("default"))) int client_main(int argc, char** argv);
int client_main(int argc, char** argv) { return hold_buffers(argc, argv); }

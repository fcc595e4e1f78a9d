/* Opens a library in the way that its first argument names and runs client_main in it with the
 * rest: local|global|deep|namespace LIBRARY ... */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void* open_library(const char* way, const char* path) {
  if (strcmp(way, "namespace") == 0) return dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
  if (strcmp(way, "deep") == 0) return dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
  return dlopen(path, RTLD_NOW | (strcmp(way, "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL));
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  void* library = open_library(argv[1], argv[2]);
  void* found = library != NULL ? dlsym(library, "client_main") : NULL;
  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 4;
  }
  int (*client_main)(int, char**) = NULL;
  memcpy(&client_main, &found, sizeof found);
  return client_main(argc - 2, argv + 2);
}

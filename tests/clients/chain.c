/* A preloaded library that finds the next one's function of the same name, as interposers do.
 * Compiled twice, with its name in WHO. One of the names begins like OpenCL's. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef const char* (*function)(void);
const char* plain_chain(void);
const char* clPrefixed_chain(void);

static const char* chain(const char* name, char* text, size_t size) {
  void* found = dlsym(RTLD_NEXT, name);
  function next = NULL;
  memcpy(&next, &found, sizeof found);
  snprintf(text, size, "%s>%s", WHO, next != NULL ? next() : "end");
  return text;
}

const char* plain_chain(void) {
  static char text[256];
  return chain("plain_chain", text, sizeof text);
}

const char* clPrefixed_chain(void) {
  static char text[256];
  return chain("clPrefixed_chain", text, sizeof text);
}

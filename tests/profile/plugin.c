/* Opened, used and closed by closes_plugin.c. */
#include <stdlib.h>

__attribute__((visibility("default"))) void *plugin_makes(size_t size) {
  void *object = malloc(size);
  __asm__ volatile("" : "+r"(object) : : "memory");
  return object;
}

/* A plugin loaded with RTLD_DEEPBIND that brings its own allocator into play (its malloc is the C library's, not ours).
   Arguments: the plugin; "theirs" (we get objects of its malloc, use and free them) or "ours" (it frees objects of ours). */
#include "check.h"
#include <dlfcn.h>
#include <malloc.h>

int main(int count, char **arguments) {
  CHECK(count == 3);
  void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  CHECK(plugin != NULL);
  void *(*plugin_allocate)(size_t) = (void *(*)(size_t))dlsym(plugin, "plugin_allocate");
  void (*plugin_release)(void *) = (void (*)(void *))dlsym(plugin, "plugin_release");
  CHECK(plugin_allocate != NULL && plugin_release != NULL);

  const size_t sizes[] = {24, 1000, 40000, 500000};
  for (int round = 0; round < 100; ++round) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
      int theirs = strcmp(arguments[2], "theirs") == 0;
      char *object = hide(theirs ? plugin_allocate(sizes[i]) : malloc(sizes[i]));
      CHECK(object != NULL);
      memset(object, 'x', sizes[i]);
      if (theirs) {
        free(object);
      } else {
        plugin_release(object);
      }
    }
  }
  puts("finished");
  return 0;
}

/* A plugin loaded with RTLD_DEEPBIND: its malloc and free are the C library's, not ours. Arguments: the plugin; "theirs"
   (objects of its malloc are used, resized and freed here) or "ours" (it frees objects of ours). */
#include "check.h"
#include <dlfcn.h>

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
        CHECK((object = hide(realloc(object, sizes[i] * 2))) != NULL);
        for (size_t k = 0; k < sizes[i]; ++k) CHECK(object[k] == 'x');
        free(object);
        free(hide(plugin_allocate(sizes[i])));
      } else {
        plugin_release(object);
      }
    }
  }
  puts("finished");
  return 0;
}

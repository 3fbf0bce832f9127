/* An ordinary plugin (dlopen without RTLD_DEEPBIND) allocates and frees across the boundary, and is unloaded while
   objects of its making live on. Argument: the plugin. */
#include "check.h"
#include <dlfcn.h>

int main(int count, char **arguments) {
  CHECK(count == 2);
  for (int round = 0; round < 200; ++round) {
    void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(plugin != NULL);
    void *(*plugin_allocate)(size_t) = (void *(*)(size_t))dlsym(plugin, "plugin_allocate");
    void (*plugin_release)(void *) = (void (*)(void *))dlsym(plugin, "plugin_release");
    CHECK(plugin_allocate != NULL && plugin_release != NULL);
    void *ours = hide(malloc(3000)), *theirs = hide(plugin_allocate(3000));
    CHECK(ours != NULL && theirs != NULL);
    plugin_release(ours);
    CHECK(dlclose(plugin) == 0);
    CHECK((theirs = hide(realloc(theirs, 90000))) != NULL);
    free(theirs);
  }
  return 0;
}

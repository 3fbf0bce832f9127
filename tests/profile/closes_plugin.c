/* closes_plugin PATH: what a plugin allocated stays when the plugin is gone. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  if (count != 2) return 2;
  void *plugin = dlopen(arguments[1], RTLD_NOW);
  void *(*make)(size_t) = plugin == NULL ? NULL : (void *(*)(size_t))dlsym(plugin, "plugin_makes");
  if (make == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 3;
  }
  for (int i = 0; i < 1000; ++i)
    if (make(10000) == NULL) return 4;
  return dlclose(plugin) == 0 ? 0 : 5;
}

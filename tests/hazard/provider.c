/* Names, of the symbols given as arguments, those that are not provided by the library of the first argument. */
#include "check.h"
#include <dlfcn.h>

int main(int count, char **arguments) {
  char library[4096], provider[4096];
  CHECK(count > 2);
  CHECK(realpath(arguments[1], library) != NULL);
  int missing = 0;
  for (int i = 2; i < count; ++i) {
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, arguments[i]);
    if (address != NULL && dladdr(address, &info) != 0 && realpath(info.dli_fname, provider) != NULL &&
        strcmp(provider, library) == 0)
      continue;
    printf("%s\n", arguments[i]);
    ++missing;
  }
  return missing != 0;
}

/* The plugin of deep_binding: with RTLD_DEEPBIND, its malloc and free are those of the C library it is linked with. */
#include <stdlib.h>

void *plugin_allocate(size_t size);
void plugin_release(void *object);

void *plugin_allocate(size_t size) { return malloc(size); }
void plugin_release(void *object) { free(object); }

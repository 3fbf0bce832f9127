// The functions of nebula/nebula.h, which says what they promise. Nothing here but the names: what they do is in src/heap.
#include "heap/heap.hpp"
#include "nebula/nebula.h"
#include "preload/interpose.hpp"

extern "C" {

NEBULA_EXPORT const char* nebula_version(void) { return NEBULA_VERSION; }

NEBULA_EXPORT std::size_t nebula_purge(void) { return nebula::heap::trim(); }

NEBULA_EXPORT void nebula_thread_flush(void) { nebula::heap::flush_this_thread(); }

}  // extern "C"

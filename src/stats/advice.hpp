// What stands out in a snapshot, in words; nothing where the figures do not support it.
#pragma once

#include <string_view>

#include "stats/snapshot.hpp"

namespace nebula::stats {

// Calls `say` for each piece of advice, one or two sentences without a full stop at the end.
using Say = void (*)(void* target, std::string_view words);
void for_each_advice(const Snapshot& snapshot, void* target, Say say);

}  // namespace nebula::stats

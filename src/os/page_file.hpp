// A file that this process writes through a mapping and others read: made in a private directory, gone with the process.
//
// None of this is used unless asked for (NEBULA_LIVE=1). Errors are values: a negative error number of the kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula::os {

inline constexpr int kNotPrivate = -0x10001;  // of somebody else, or others may enter it, or a symbolic link

// Makes the directory, for its owner alone, if it is not there. Its descriptor, a negative error number or kNotPrivate.
[[nodiscard]] int open_private_directory(const char* path);

struct SharedFile {
  Address address = 0;  // 0: refused, and `error` says why
  int error = 0;
};
// A new file for its owner alone, in place of one of the same name, with all its blocks, so that no write into it can fail
// later (a full disk would be a SIGBUS). Mapped at `where`, over what is there, or anywhere for 0.
[[nodiscard]] SharedFile map_new_file(int directory, const char* name, std::size_t bytes, Address where);

// Puts private memory over a mapped file: whoever still writes there writes for nobody.
void forget_file(Address where, std::size_t bytes);

}  // namespace nebula::os

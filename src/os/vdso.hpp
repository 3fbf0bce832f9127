// Functions that the kernel maps into every process: called, not entered by a system call.
#pragma once

#include <cstdint>

namespace nebula::os {

// The address of a function of the vDSO, 0 when there is none of that name. Not remembered here.
[[nodiscard]] std::uintptr_t find_in_vdso(const char* name);

}  // namespace nebula::os

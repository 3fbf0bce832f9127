// The header is C++20 as well, without a warning.
#include <nebula/nebula.h>

int main() { return nebula_version == nullptr || nebula_version() != nullptr ? 0 : 1; }

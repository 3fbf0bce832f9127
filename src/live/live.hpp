// The live page: numbers of this process where another one reads them at any time. Its layout is in live/page.hpp.
//
// Written at the end of slow paths, as often as its cost allows: at once while the program is quiet, and never with more
// than a fiftieth of the time. Whoever writes holds every lock for that moment, as the exit report does, unless one cannot
// be had: then the numbers are of slightly different moments, and the page says so. Two threads never write at a time.
//
// A child of fork has a page of its own. Until it has, and when none can be made, what it writes goes nowhere.
#pragma once

namespace nebula::live {

// Makes the page in $XDG_RUNTIME_DIR/nebula, or else in /tmp/nebula-USER_ID; says so when it cannot be made. From then on
// it is written until end(). Called once, before other threads exist, outside the slow path.
void begin(const char* const* environment);
// The file's path, empty without one.
[[nodiscard]] const char* path();
// In the child of a fork, holding no lock.
void begin_in_child();
// The process ends: the file goes.
void end();

}  // namespace nebula::live

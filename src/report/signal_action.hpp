// libc's sigaction under the name that nobody interposes: this library does (preload/signals.cpp), and so do others.
#pragma once

#include <signal.h>

extern "C" int __sigaction(int number, const struct sigaction* action, struct sigaction* old_action) noexcept;

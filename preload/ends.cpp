// The ends that skip every destructor: _exit and execve under all their names. Where a report is wanted before them
// (NEBULA_STATS_BEFORE), it is written first; then whoever is next does what was asked.
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "lifecycle/lifecycle.hpp"
#include "os/process.hpp"
#include "preload/interpose.hpp"
#include "preload/next.hpp"

namespace lifecycle = nebula::lifecycle;

namespace {

using Vector = char* const*;
using Execute = int (*)(const char*, Vector);
using ExecuteWith = int (*)(const char*, Vector, Vector);

// For the functions whose name has an l.
std::size_t count_arguments(const char* first, va_list rest) {
  std::size_t count = 0;
  for (const char* each = first; each != nullptr; each = va_arg(rest, const char*)) ++count;
  return count;
}

// Calls execute(arguments, rest): what follows `first` in `rest` up to a null, as an array in this frame, and what is behind it.
template <class Execute>
int with_arguments(const char* first, va_list rest, Execute execute) {
  va_list counted;
  va_copy(counted, rest);
  const std::size_t count = count_arguments(first, counted);
  va_end(counted);
  auto** const arguments = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));
  for (std::size_t i = 0; i <= count; ++i) arguments[i] = i == 0 ? const_cast<char*>(first) : va_arg(rest, char*);
  return execute(arguments, rest);
}

}  // namespace

extern "C" {

NEBULA_EXPORT void _exit(int status) {
  lifecycle::before_underscore_exit();
  nebula::os::exit_immediately(status);
}

NEBULA_EXPORT void _Exit(int status) noexcept { _exit(status); }

NEBULA_EXPORT int execve(const char* path, Vector arguments, Vector environment) noexcept {
  static constinit nebula::Next<ExecuteWith> next{"execve"};
  lifecycle::before_execve();
  return next.get()(path, arguments, environment);
}

NEBULA_EXPORT int execv(const char* path, Vector arguments) noexcept {
  static constinit nebula::Next<Execute> next{"execv"};
  lifecycle::before_execve();
  return next.get()(path, arguments);
}

NEBULA_EXPORT int execvp(const char* file, Vector arguments) noexcept {
  static constinit nebula::Next<Execute> next{"execvp"};
  lifecycle::before_execve();
  return next.get()(file, arguments);
}

NEBULA_EXPORT int execvpe(const char* file, Vector arguments, Vector environment) noexcept {
  static constinit nebula::Next<ExecuteWith> next{"execvpe"};
  lifecycle::before_execve();
  return next.get()(file, arguments, environment);
}

NEBULA_EXPORT int fexecve(int descriptor, Vector arguments, Vector environment) noexcept {
  static constinit nebula::Next<int (*)(int, Vector, Vector)> next{"fexecve"};
  lifecycle::before_execve();
  return next.get()(descriptor, arguments, environment);
}

NEBULA_EXPORT int execveat(int folder, const char* path, Vector arguments, Vector environment, int flags) noexcept {
  static constinit nebula::Next<int (*)(int, const char*, Vector, Vector, int)> next{"execveat"};
  lifecycle::before_execve();
  return next.get()(folder, path, arguments, environment, flags);
}

NEBULA_EXPORT int execl(const char* path, const char* argument, ...) noexcept {
  va_list rest;
  va_start(rest, argument);
  const int result = with_arguments(argument, rest, [path](Vector arguments, va_list) { return execv(path, arguments); });
  va_end(rest);
  return result;
}

NEBULA_EXPORT int execlp(const char* file, const char* argument, ...) noexcept {
  va_list rest;
  va_start(rest, argument);
  const int result = with_arguments(argument, rest, [file](Vector arguments, va_list) { return execvp(file, arguments); });
  va_end(rest);
  return result;
}

NEBULA_EXPORT int execle(const char* path, const char* argument, ...) noexcept {
  va_list rest;
  va_start(rest, argument);
  const int result = with_arguments(argument, rest, [path](Vector arguments, va_list behind) {
    return execve(path, arguments, va_arg(behind, Vector));
  });
  va_end(rest);
  return result;
}

}  // extern "C"

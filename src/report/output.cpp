#include "report/output.hpp"

#include <cerrno>

#include "base/units.hpp"
#include "diag/message.hpp"
#include "os/file.hpp"
#include "os/process.hpp"
#include "os/shared_file.hpp"

namespace nebula::report {
namespace {

// A report for a person fits, so that it reaches a terminal in one piece.
constexpr std::size_t kBufferBytes = 24 * 1024;
alignas(kPageSize) constinit char buffer[kBufferBytes];  // as few pages as it fills

constexpr std::size_t kPathBytes = 1400;

struct File {
  int descriptor;
  bool is_whole = true;
};

void into_file(void* target, std::string_view words) {
  File& file = *static_cast<File*>(target);
  file.is_whole = file.is_whole && os::write_all(file.descriptor, words);
}

void into_standard_error(void*, std::string_view words) { write_to_standard_error(words); }

// Closes the descriptor; whether all of it was written.
bool write_and_close(int descriptor, Write write) {
  File file = {descriptor};
  Text text(buffer, sizeof buffer, into_file, &file);
  write(text);
  text.empty();
  os::close_file(descriptor);
  return file.is_whole;
}

std::string_view meaning(int error) {
  switch (error) {
    case os::kNoPlainFile: return "neither a file nor a character device";
    case -ENOENT: return "no such folder";
    case -ENOTDIR: return "its folder is none";
    case -EACCES: return "permission denied";
    case -EROFS: return "the file system is read-only";
    case -EISDIR: return "it is a folder";
    case -EMFILE: return "too many open files";
    case -ENAMETOOLONG: return "the name is too long";
    default: return {};
  }
}

void say_failure(const char* path, int error, std::string_view what) {
  TextOf<1600> line;
  line << "the " << what << " cannot be written to " << path << ": ";
  if (const std::string_view words = meaning(error); !words.empty()) line << words;
  else (line << "error ").plain(static_cast<std::uint64_t>(-error));
  say(line.view());
}

void say_cut(const char* path, std::string_view what) {
  TextOf<1600> line;
  line << "the " << what << " could not be written to " << path << " to its end";
  say(line.view());
}

enum class Outcome { kDone, kFailed, kElsewhere };

// By a file beside it. kElsewhere: nothing has happened.
Outcome replace(const char* path, Write write) {
  TextOf<kPathBytes> beside;
  beside << path << '.';
  beside.plain(static_cast<std::uint64_t>(os::process_id())) << ".part" << '\0';
  if (beside.is_full()) return Outcome::kElsewhere;
  const char* const part = beside.view().data();
  const int file = os::create_new_file(part);
  if (file < 0) return Outcome::kElsewhere;
  if (!write_and_close(file, write)) {
    os::remove_file(part);
    return Outcome::kFailed;
  }
  if (os::rename_file(part, path)) return Outcome::kDone;
  os::remove_file(part);
  return Outcome::kElsewhere;
}

}  // namespace

void to_standard_error(Write write) {
  Text text(buffer, sizeof buffer, into_standard_error, nullptr);
  write(text);
  text.empty();
}

void to_file(const char* path, Write write, std::string_view what) {
  Outcome outcome = Outcome::kElsewhere;
  if (os::place_at(path) != os::Place::kOther) outcome = replace(path, write);
  if (outcome == Outcome::kElsewhere) {
    const int file = os::create_file(path);
    if (file < 0) return say_failure(path, file, what);
    outcome = write_and_close(file, write) ? Outcome::kDone : Outcome::kFailed;
  }
  if (outcome == Outcome::kFailed) say_cut(path, what);
}

void append_to_file(const char* path, std::uint64_t rotate_at, Write write) {
  int file = os::open_to_append(path);
  if (file >= 0 && os::size_of_file(file) >= rotate_at) {
    TextOf<kPathBytes> old;
    old << path << ".1" << '\0';
    if (!old.is_full() && os::rename_file(path, old.view().data())) {
      os::close_file(file);
      file = os::open_to_append(path);
    }
  }
  if (file < 0) return say_failure(path, file, "report");
  if (!write_and_close(file, write)) say_cut(path, "report");
}

}  // namespace nebula::report

// Facts about the process, its clock, its files; waiting and waking.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nebula::os {

// Milliseconds of a clock that never goes back; the coarse one costs a few nanoseconds and steps by 1 to 10 ms.
[[nodiscard]] std::uint64_t coarse_milliseconds();
[[nodiscard]] std::uint64_t nanoseconds();
// Since 1970, by the clock on the wall.
[[nodiscard]] std::uint64_t unix_milliseconds();

struct Usage {
  std::uint64_t user_microseconds = 0;
  std::uint64_t system_microseconds = 0;
  std::uint64_t minor_faults = 0;
  std::uint64_t major_faults = 0;
  std::uint64_t peak_resident_bytes = 0;
};
[[nodiscard]] Usage usage();

// How much of the process is in memory and how much is swapped out.
struct Residence {
  bool is_known = false;
  std::uint64_t resident_bytes = 0;
  std::uint64_t swapped_bytes = 0;
};
// Opens what residence() reads, and keeps it open: a program may be in a sandbox later. In a child of fork again.
void watch_residence();
[[nodiscard]] Residence residence();

[[nodiscard]] int process_id();
[[nodiscard]] int thread_id();
// The calling thread's name; 16 bytes, a null among them.
void thread_name(char* name);
// That this thread may run on; 0 when the kernel does not say.
[[nodiscard]] unsigned usable_processors();
void name_thread(const char* name);  // at most 15 bytes of it
void send_to_this_thread(int signal);
[[nodiscard]] bool is_secure_execution();        // AT_SECURE: set-user-id, file capabilities
// From the kernel, or where it refuses mixed from the bytes it gives each process: libc keeps its guards in those, so they
// must not be found again in what follows from this value.
[[nodiscard]] std::uint64_t random_start_value();
[[nodiscard]] std::size_t kernel_page_size();
[[nodiscard]] const char* program_name();  // the last part of argv[0]; never null

// What an open file is, so that a descriptor that was closed and reused is recognised.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool is_open = false;
  bool operator==(const FileIdentity&) const = default;
};
[[nodiscard]] FileIdentity identity_of(int descriptor);

// Writes all of it, past interruptions and short writes; false on any other error. A broken pipe raises no signal.
bool write_all(int descriptor, std::string_view text);
// Creates or truncates; close-on-exec; waits for nobody. The descriptor, or a negative error number, or kNoPlainFile for
// what is neither a regular file nor a character device.
inline constexpr int kNoPlainFile = -0x10000;
[[nodiscard]] int create_file(const char* path);
// Opens to write behind what is there, or creates; else the same.
[[nodiscard]] int open_to_append(const char* path);
void close_file(int descriptor);
// A close-on-exec copy with a high number, where no program expects to find one free; negative when refused.
[[nodiscard]] int duplicate(int descriptor);
// Up to the size of `buffer`; the number of bytes read, 0 when the file cannot be read.
[[nodiscard]] std::size_t read_file(const char* path, std::span<char> buffer);

// The path of the program's file, not terminated; the number of bytes, 0 when the kernel does not say.
[[nodiscard]] std::size_t program_path(std::span<char> buffer);

[[noreturn]] void exit_immediately(int status);

// Sleeps while `word` holds `expected`, or until woken; may wake for no reason.
void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t expected);
// The same, for at most so long.
void wait_while_for(std::atomic<std::uint32_t>& word, std::uint32_t expected, unsigned milliseconds);
// Sleeps for about so long; like every wait here by a futex, which sandboxes allow.
void sleep_for(unsigned milliseconds);
void wake_one(std::atomic<std::uint32_t>& word);
void wake_all(std::atomic<std::uint32_t>& word);
void yield_processor();

}  // namespace nebula::os

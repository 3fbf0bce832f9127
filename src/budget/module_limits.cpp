#include "budget/module_limits.hpp"

#include <dlfcn.h>
#include <link.h>

#include "base/start_data.hpp"
#include "base/units.hpp"
#include "budget/account_list.hpp"
#include "diag/pattern.hpp"
#include "os/process.hpp"

// Weak: an older C library has none.
extern "C" __attribute__((weak)) int _dl_find_object(void* address, struct dl_find_object* result) noexcept;

namespace nebula::module_limits {

NEBULA_START_DATA constinit std::atomic<bool> any{false};

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kKnownMost = 256;  // modules whose name was compared
constexpr unsigned kIdBits = 8;

constinit AccountList<config::NamedLimit, config::kNamedLimitsMost> all;
// What a module is known by (start, end, unwind table and the loader's record of it, hashed), above its id. All in one word: what
// is read is right whoever writes.
constinit std::atomic<std::uint64_t> known[kKnownMost] = {};

std::uint64_t hash_of(const dl_find_object& object) {
  std::uint64_t hash = 0;
  for (const void* const part : {static_cast<const void*>(object.dlfo_map_start), static_cast<const void*>(object.dlfo_map_end),
                                 static_cast<const void*>(object.dlfo_eh_frame), static_cast<const void*>(object.dlfo_link_map)})
    hash = (hash ^ reinterpret_cast<Address>(part)) * 0x9e37'79b9'7f4a'7c15 ^ hash >> 29;
  return hash;
}

std::string_view last_part(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : after(path, slash + 1);
}

// "libfoo.so" also means libfoo.so.1.2.
bool is_named(std::string_view file, std::string_view wanted) {
  if (matches(file, wanted)) return true;
  return file.size() > wanted.size() && file[wanted.size()] == '.' && start_of(file, wanted.size()) == wanted;
}

Id id_of(const link_map& module) {
  const std::string_view path = *module.l_name == '\0' ? os::program_name() : std::string_view(module.l_name);
  const Account* const account = all.find([file = last_part(path)](const config::NamedLimit& limit) { return is_named(file, limit.name); });
  return account == nullptr ? kNone : static_cast<Id>(account - all.accounts().data() + 1);
}

}  // namespace

bool set(std::span<const config::NamedLimit> limits, config::AtLimit at_limit) {
  all.set(limits, config::AccountKind::kModule, at_limit);
  if (limits.empty()) return true;
  if (&_dl_find_object == nullptr) return false;
  any.store(true, kRelaxed);
  return true;
}

Id of_code(const void* code) {
  dl_find_object object;
  if (_dl_find_object(const_cast<void*>(code), &object) != 0) return kNone;
  constexpr std::uint64_t kIdMask = (1u << kIdBits) - 1;
  const std::uint64_t hash = hash_of(object);
  std::atomic<std::uint64_t>& place = known[hash >> 56];
  static_assert(kKnownMost == 256);
  const std::uint64_t key = (hash << kIdBits) | kIdMask;  // with an id in place of the mask's bits, never 0
  const std::uint64_t seen = place.load(kRelaxed);
  if ((seen | kIdMask) == key && seen != 0) return static_cast<Id>(seen & kIdMask);
  const Id id = id_of(*object.dlfo_link_map);
  place.store((key & ~kIdMask) | id, kRelaxed);
  return id;
}

void forget() {
  if (!are_set()) return;
  for (std::atomic<std::uint64_t>& place : known) place.store(0, kRelaxed);
}

std::span<Account> accounts() { return all.accounts(); }

std::string_view name_of(const Account& account) { return all.limit_of(account).name; }

}  // namespace nebula::module_limits

#include "budget/tree.hpp"

#include <atomic>
#include <cstring>

#include "base/start_data.hpp"
#include "base/units.hpp"
#include "budget/account.hpp"
#include "diag/text.hpp"
#include "os/process.hpp"
#include "os/shared_file.hpp"

namespace nebula::tree {
namespace {

constexpr std::uint64_t kMagic = 0x3165'6572'7462'656e;  // "nebtree1"
constexpr unsigned kSlots = 1023;
constexpr unsigned kCommonSlot = kSlots;  // of processes that found no other: never taken back
constexpr std::size_t kPathMost = 64;
constexpr const char* kNameStart = "nebula-tree-";

struct alignas(kCacheLine) Slot {
  std::atomic<std::uint64_t> owner;  // 0: free
  std::atomic<std::uint64_t> pid_namespace;
  std::atomic<std::uint64_t> share;
  std::atomic<std::uint32_t> in_flight;
};

struct alignas(kCacheLine) Shared {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint64_t> limit;
  std::atomic<std::uint64_t> total;
  std::atomic<std::uint64_t> peak;
  std::atomic<std::uint64_t> recount;     // the owner of who counts anew; 0: nobody
  std::atomic<std::uint64_t> found_dead;
  std::atomic<std::uint32_t> is_closed;   // its last process has gone, the file goes too
  Slot slots[kSlots + 1];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::uint64_t kStartTimeKept = 0xffff'ffff;
constexpr std::uint64_t kBeingCleared = 1;
constexpr std::uint64_t kCommon = 2;

constexpr auto kRelaxed = std::memory_order_relaxed;

NEBULA_START_DATA constinit Shared* shared = nullptr;  // set once, before there are threads
NEBULA_START_DATA constinit Slot* mine = nullptr;  // the same, and in a child of fork while it has one thread
constinit std::uint64_t my_owner = 0;
constinit std::uint64_t my_namespace = 0;
constinit std::atomic<std::uint64_t> inherited{0};  // bytes that the parent is charged for
constinit char file_path[kPathMost] = {};
constinit std::size_t file_path_length = 0;

std::uint64_t owner_of_this_process() {
  const int id = os::process_id();
  return std::uint64_t{static_cast<std::uint32_t>(id)} << 32 | (os::life_of(id).start_time & kStartTimeKept);
}

// Whether the process that a slot was given to is gone. The start time is kept in 32 bits, which the kernel's ticks fill in
// 497 days; two processes of one id are told apart all the same.
bool is_dead(const Slot& slot, std::uint64_t owner) {
  if (owner == 0 || owner == kCommon) return false;
  if (owner == kBeingCleared) return true;
  if (slot.pid_namespace.load(kRelaxed) != my_namespace) return false;
  const os::Life life = os::life_of(static_cast<int>(owner >> 32));
  const std::uint64_t started = owner & kStartTimeKept;
  const std::uint64_t starts_now = life.start_time & kStartTimeKept;
  return !life.is_alive || (started != 0 && starts_now != 0 && starts_now != started);
}

// The shared total and the share are apart for a moment, in which a recount must not look. seq_cst, both the count and the
// look: the other side stores `recount` and then looks at the counts, and one of the two must see the other.
class InFlight {
 public:
  InFlight() {
    for (;;) {
      mine->in_flight.fetch_add(1, std::memory_order_seq_cst);
      const std::uint64_t counting = shared->recount.load(std::memory_order_seq_cst);
      if (counting == 0) return;
      mine->in_flight.fetch_sub(1, std::memory_order_seq_cst);
      if (!os::life_of(static_cast<int>(counting >> 32)).is_alive) {
        std::uint64_t dead = counting;
        shared->recount.compare_exchange_strong(dead, 0, std::memory_order_seq_cst);
        continue;
      }
      os::yield_processor();
    }
  }
  ~InFlight() { mine->in_flight.fetch_sub(1, std::memory_order_seq_cst); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
};

void raise_peak(std::uint64_t value) {
  std::uint64_t peak = shared->peak.load(kRelaxed);
  while (value > peak && !shared->peak.compare_exchange_weak(peak, value, kRelaxed)) {
  }
}

void add(std::uint64_t bytes) {
  raise_peak(shared->total.fetch_add(bytes, kRelaxed) + bytes);
  mine->share.fetch_add(bytes, kRelaxed);
}

bool try_add(std::uint64_t bytes) {
  const InFlight in_flight;
  const std::uint64_t limit = shared->limit.load(kRelaxed);
  std::uint64_t before = shared->total.load(kRelaxed);
  do {
    if (before > limit || bytes > limit - before) return false;
  } while (!shared->total.compare_exchange_weak(before, before + bytes, kRelaxed));
  mine->share.fetch_add(bytes, kRelaxed);
  raise_peak(before + bytes);
  return true;
}

// Waits until no living process is between its two additions; false when one does not move on (it may be stopped).
bool all_at_rest() {
  constexpr unsigned kPatience = 400;  // of 50 microseconds
  for (Slot& slot : shared->slots) {
    for (unsigned i = 0; slot.in_flight.load(std::memory_order_seq_cst) != 0; ++i) {
      const std::uint64_t owner = slot.owner.load(kRelaxed);
      if (owner == 0 || is_dead(slot, owner)) break;
      if (i == kPatience) return false;
      os::yield_processor();
    }
  }
  return true;
}

// The total from the shares of the living, the others' slots freed. True when it was done, by whomever.
bool count_anew() {
  std::uint64_t nobody = 0;
  if (!shared->recount.compare_exchange_strong(nobody, my_owner, std::memory_order_seq_cst)) {
    // Another one is at it; one that was killed meanwhile is replaced by the next charge (InFlight).
    { const InFlight waits_for_its_end; }
    return true;
  }
  const bool is_possible = all_at_rest();
  if (is_possible) {
    std::uint64_t total = 0;
    for (Slot& slot : shared->slots) {
      const std::uint64_t owner = slot.owner.load(kRelaxed);
      if (owner != 0 && is_dead(slot, owner)) {
        slot.share.store(0, kRelaxed);
        slot.in_flight.store(0, kRelaxed);
        slot.owner.store(0, std::memory_order_release);  // pairs with the acquire in claim_slot
        shared->found_dead.fetch_add(1, kRelaxed);
        continue;
      }
      total += slot.share.load(kRelaxed);
    }
    shared->total.store(total, kRelaxed);
  }
  shared->recount.store(0, std::memory_order_seq_cst);
  return is_possible;
}

// Takes back what processes that are gone have not given back. True when there was something.
bool take_back_from_dead() {
  bool found = false;
  bool is_unclear = false;
  for (Slot& slot : shared->slots) {
    std::uint64_t owner = slot.owner.load(std::memory_order_acquire);
    if (owner == 0 || &slot == mine || !is_dead(slot, owner)) continue;
    if (owner == kBeingCleared || slot.in_flight.load(std::memory_order_seq_cst) != 0) {
      is_unclear = true;
      continue;
    }
    // The one that wins here is alone with the slot; killed before its end, it leaves a slot that is unclear.
    const InFlight in_flight;
    if (!slot.owner.compare_exchange_strong(owner, kBeingCleared, std::memory_order_acq_rel)) continue;
    shared->total.fetch_sub(slot.share.exchange(0, kRelaxed), kRelaxed);
    slot.owner.store(0, std::memory_order_release);  // pairs with the acquire in claim_slot
    shared->found_dead.fetch_add(1, kRelaxed);
    found = true;
  }
  return is_unclear ? count_anew() : found;
}

void claim_slot() {
  mine = nullptr;
  my_owner = owner_of_this_process();
  for (unsigned i = 0; i < kSlots; ++i) {
    Slot& slot = shared->slots[i];
    std::uint64_t owner = slot.owner.load(kRelaxed);
    // A program that this one has replaced (exec) had the same process: what it held is gone.
    if (owner == my_owner && slot.pid_namespace.load(kRelaxed) == my_namespace) {
      slot.owner.store(kBeingCleared, kRelaxed);
      continue;
    }
    if (mine != nullptr || owner != 0) continue;
    // acquire: pairs with the release that freed it, so its share is seen as 0.
    if (!slot.owner.compare_exchange_strong(owner, my_owner, std::memory_order_acquire)) continue;
    slot.pid_namespace.store(my_namespace, kRelaxed);
    mine = &slot;
  }
  if (mine != nullptr) return;
  mine = &shared->slots[kCommonSlot];
  mine->owner.store(kCommon, kRelaxed);
}

void write_name(Text& path, const char* folder, std::uint64_t random) {
  path << folder << '/' << kNameStart;
  path.plain(os::user_id()) << '-';
  path.plain(static_cast<std::uint64_t>(os::process_id())) << '-';
  path.plain(random) << '\0';
}

// A tree whose last process was killed left its file behind. The one that is made now tidies up.
void remove_if_abandoned(const char* name, void* folder) {
  TextOf<kPathMost> start;
  start << kNameStart;
  start.plain(os::user_id()) << '-';
  if (start_of(name, start.length()) != start.view()) return;
  TextOf<kPathMost> path;
  path << static_cast<const char*>(folder) << '/' << name << '\0';
  int error = 0;
  void* const room = path.is_full() ? nullptr : os::map_shared_file(path.view().data(), sizeof(Shared), os::Opening::kJoin, error);
  if (room == nullptr) return;
  auto* const other = static_cast<Shared*>(room);
  // One that is being made has no process yet, for a moment; its magic comes last.
  bool is_abandoned = other->magic.load(std::memory_order_acquire) == kMagic;
  bool had_process = false;
  for (const Slot& slot : other->slots) {
    const std::uint64_t owner = slot.owner.load(kRelaxed);
    if (owner == 0) continue;
    had_process = true;
    is_abandoned = is_abandoned && is_dead(slot, owner);
  }
  os::unmap(room, sizeof(Shared));
  if (is_abandoned && had_process) os::remove_file(path.view().data());
}

void keep_path(std::string_view path) {
  std::memcpy(file_path, path.data(), path.size());
  file_path_length = path.size();
}

bool create(std::uint64_t limit) {
  const std::uint64_t random = os::random_start_value() >> 16;
  static constexpr char kFolders[][9] = {"/dev/shm", "/tmp"};
  for (const char* const folder : kFolders) {
    os::visit_folder(folder, remove_if_abandoned, const_cast<char*>(folder));
    TextOf<kPathMost> path;
    write_name(path, folder, random);
    int error = 0;
    void* const room = path.is_full() ? nullptr : os::map_shared_file(path.view().data(), sizeof(Shared), os::Opening::kCreate, error);
    if (room == nullptr) continue;
    shared = static_cast<Shared*>(room);
    shared->limit.store(limit, kRelaxed);
    shared->magic.store(kMagic, std::memory_order_release);  // pairs with the acquire in open
    keep_path({path.view().data(), path.length() - 1});
    return true;
  }
  return false;
}

bool open(std::string_view known) {
  TextOf<kPathMost> path;
  path << known << '\0';
  int error = 0;
  void* const room = path.is_full() ? nullptr : os::map_shared_file(path.view().data(), sizeof(Shared), os::Opening::kJoin, error);
  if (room == nullptr) return false;
  auto* const candidate = static_cast<Shared*>(room);
  if (candidate->magic.load(std::memory_order_acquire) != kMagic) {
    os::unmap(room, sizeof(Shared));
    return false;
  }
  shared = candidate;
  claim_slot();
  // seq_cst, with the slot claimed before: either this sees that the last process has left, or that one sees the slot.
  if (shared->is_closed.load(std::memory_order_seq_cst) == 0) {
    keep_path(known);
    return true;
  }
  mine->owner.store(0, std::memory_order_release);
  mine = nullptr;
  shared = nullptr;
  os::unmap(room, sizeof(Shared));
  return false;
}

}  // namespace

Joined join(std::uint64_t limit, std::string_view known) {
  my_namespace = os::process_namespace();
  Joined result = Joined::kMember;
  if (known.empty() || !open(known)) {
    if (!create(limit)) return Joined::kImpossible;
    claim_slot();
    result = Joined::kCreated;
  }
  tree_account.set_limits(shared->limit.load(kRelaxed), kNoLimit);
  take_back_from_dead();
  const InFlight in_flight;
  add(process_account.committed());
  return result;
}

std::string_view path() { return {file_path, file_path_length}; }

bool try_charge(std::size_t bytes) {
  if (shared == nullptr || bytes == 0) return true;
  if (try_add(bytes)) return true;
  if (take_back_from_dead() && try_add(bytes)) return true;
  if (tree_account.at_limit().action == config::BudgetAction::kWarn) {
    const InFlight in_flight;
    add(bytes);
    tree_account.note_hard_limit();
    return true;
  }
  refused_by = &tree_account;
  return false;
}

void credit(std::size_t bytes) {
  if (shared == nullptr) return;
  std::uint64_t before = inherited.load(kRelaxed);
  std::uint64_t taken;
  do {
    taken = before < bytes ? before : bytes;
  } while (taken != 0 && !inherited.compare_exchange_weak(before, before - taken, kRelaxed));
  bytes -= taken;
  if (bytes == 0) return;
  const InFlight in_flight;
  mine->share.fetch_sub(bytes, kRelaxed);
  shared->total.fetch_sub(bytes, kRelaxed);
}

void note_fork() {
  if (shared == nullptr) return;
  inherited.store(process_account.committed(), kRelaxed);
  claim_slot();
}

void find_dead() {
  if (shared != nullptr) take_back_from_dead();
}

void leave() {
  if (shared == nullptr) return;
  shared->is_closed.store(1, std::memory_order_seq_cst);
  for (Slot& slot : shared->slots) {
    const std::uint64_t owner = slot.owner.load(std::memory_order_seq_cst);
    if (owner == 0 || &slot == mine || is_dead(slot, owner)) continue;
    shared->is_closed.store(0, std::memory_order_seq_cst);
    return;
  }
  os::remove_file(file_path);
}

std::uint64_t total() { return shared == nullptr ? 0 : shared->total.load(kRelaxed); }

Facts facts() {
  if (shared == nullptr) return {};
  Facts result;
  result.limit = shared->limit.load(kRelaxed);
  result.total = shared->total.load(kRelaxed);
  result.peak = shared->peak.load(kRelaxed);
  result.share = mine->share.load(kRelaxed);
  result.found_dead = shared->found_dead.load(kRelaxed);
  for (const Slot& slot : shared->slots) {
    if (slot.owner.load(kRelaxed) != 0) ++result.processes;
  }
  return result;
}

}  // namespace nebula::tree

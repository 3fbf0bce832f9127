#include "live/live.hpp"

#include <atomic>
#include <cstring>
#include <span>

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/usage.hpp"
#include "bump/block.hpp"
#include "diag/message.hpp"
#include "diag/misuse.hpp"
#include "heap/at_rest.hpp"
#include "heap/heap.hpp"
#include "live/page.hpp"
#include "node_heap/placement.hpp"
#include "os/page_file.hpp"
#include "os/process.hpp"
#include "os/shared_file.hpp"
#include "spans/frontier.hpp"
#include "spans/large.hpp"
#include "spans/sampled.hpp"
#include "stats/accounts.hpp"
#include "thread_heap/thread_heap.hpp"

#ifndef NEBULA_VERSION
#define NEBULA_VERSION "unknown"
#endif

namespace nebula::live {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// What writing may cost: a fiftieth of the time, and what a quiet second has saved up for a busy moment.
constexpr std::uint64_t kShare = 50;
constexpr std::uint64_t kSavedNanoseconds = 1'000'000'000;
// What takes longer was not running all the time, and must not keep the page from being written for seconds.
constexpr std::uint64_t kCostMostNanoseconds = 4'000'000;
constexpr std::uint64_t kOldNanoseconds = 1'000'000'000;

NEBULA_START_DATA constinit Page* page = nullptr;  // set once; a child of fork has its own at the same address
NEBULA_START_DATA constinit std::atomic<bool> is_shown{false};
constinit std::atomic<bool> writing{false};
constinit std::atomic<bool> write_again{false};
constinit std::atomic<int> owner{0};                  // the process whose page it is
constinit std::atomic<std::uint64_t> paid_until{0};   // the time that all writing so far has used up, times kShare
constinit State next_state = {};                      // by whoever has writing; too large for a small stack
constinit stats::AccountRow account_room[stats::kAccountRows] = {};  // likewise
static_assert(stats::kAccountRows <= kAccountRows && kPlacesMost <= kNodeRows);
constinit char directory_path[256] = {};
constinit char file_path[320] = {};

// A word of the page: read by another process at any time, so each is stored whole. relaxed: the sequence orders them.
void put(std::uint64_t& word, std::uint64_t value) { std::atomic_ref(word).store(value, kRelaxed); }

void read_classes(State& state) {
  for (unsigned i = 0; i < kClassRows; ++i) {
    const SizeClass c = size_class(i + kClassFirst);
    const NodeHeap::ClassFacts facts = NodeHeap::facts_of_all(c);
    const thread_heap::PoolFacts pools = thread_heap::pool_facts(c);
    const sampled::Counts sampled = sampled::counts(c);
    const heap::ClassTotals totals = heap::totals_of(facts, pools, sampled);
    state.classes[i] = {slot_size(c), totals.allocations, totals.frees, totals.live, pools.pooled, facts.in_depots, facts.slabs};
    state.live_bytes += totals.live * slot_size(c);
    state.pooled_bytes += pools.pooled * slot_size(c);
    state.depot_bytes += facts.in_depots * slot_size(c);
    state.lock_waits += facts.contended;
  }
}

void read_threads(State& state) {
  const thread_heap::Facts facts = thread_heap::facts();
  state.threads_started = facts.threads_started;
  state.threads_now = facts.threads_now;
  state.refills = facts.refills;
  state.flushes = facts.flushes;
  thread_heap::HeapFacts rows[16];  // some at a time: no frame here is above a page
  std::uint32_t from = 0;
  for (unsigned got = 0; (got = thread_heap::heaps_in_use(rows, from)) != 0; from = rows[got - 1].index + 1) {
    for (const thread_heap::HeapFacts& row : std::span(rows).first(got)) {
      if (state.thread_rows == kThreadRows) {
        ++state.threads_left_out;
        continue;
      }
      state.threads[state.thread_rows++] = {static_cast<std::uint64_t>(row.thread_id), row.allocations, row.frees, row.pooled_bytes, row.refills,
                                            row.flushes};
    }
  }
}

// A name as words of its own: what is behind its end is null.
void set_name(char (&room)[kNameBytes], std::string_view name) {
  const std::string_view start = start_of(name, sizeof room - 1);
  std::memcpy(room, start.data(), start.size());
}

void read_accounts(State& state) {
  for (stats::AccountRow& row : account_room) row = {};
  unsigned count = 0;
  stats::ThreadAccounts threads;
  stats::look_at_accounts({account_room, count, threads});
  state.thread_accounts = threads.count;
  state.thread_accounts_charged = threads.charged_bytes;
  state.account_rows = count;
  for (unsigned i = 0; i < count; ++i) {
    const stats::AccountRow& from = account_room[i];
    AccountRow& row = state.accounts[i];
    const bool is_of_thread = from.kind == config::AccountKind::kThread;
    row.kind = static_cast<std::uint64_t>(from.kind);
    row.number = is_of_thread ? static_cast<std::uint64_t>(from.thread_id) : from.kind == config::AccountKind::kNode ? from.node : from.first_size;
    row.last_size = from.last_size;
    row.has_ended = from.has_ended ? 1 : 0;
    row.processes = from.processes;
    row.share_bytes = from.share_bytes;
    row.hard_limit = from.hard_limit;
    row.charged_bytes = from.charged_bytes;
    row.peak_bytes = from.peak_bytes;
    row.limit_hits = from.hits;
    row.refusals = from.refusals;
    set_name(row.name, {from.name, strnlen(from.name, sizeof from.name)});
  }
}

// What is counted anyway, and a look at each region's committed pages: not at their contents, as a report does.
void read_nodes(State& state) {
  const unsigned places = NodeHeap::places();
  if (places == 1) return;
  state.node_rows = places < kNodeRows ? places : kNodeRows;
  for (unsigned place = 0; place < state.node_rows; ++place) {
    TextOf<kNameBytes> purpose;
    placement::write_purpose(purpose, static_cast<HeapId>(place));
    set_name(state.nodes[place].purpose, purpose.view());
  }
  for (RegionIndex region = 0; region < frontier.regions(); ++region) {
    const HeapId place = NodeHeap::at(region_at(region).heap).place();
    if (place < state.node_rows)
      state.nodes[place].committed_bytes += pages::committed_in(pages::pages_of(region)).bytes();
  }
  for (unsigned i = 0; i < NodeHeap::count(); ++i) {
    NodeHeap& heap = NodeHeap::at(static_cast<HeapId>(i));
    if (heap.place() >= state.node_rows) continue;
    NodeRow& row = state.nodes[heap.place()];
    for (unsigned c = kClassFirst; c < kClassEnd; ++c) row.slot_bytes += heap.facts(size_class(c)).slots_outside * slot_size(size_class(c));
    row.dirty_bytes += heap.spans().facts().dirty_bytes;
    const NodeHeap::Traffic traffic = heap.traffic();
    row.returned += traffic.returned;
    row.fallbacks += traffic.fallbacks;
    row.arrivals += traffic.arrivals;
  }
}

enum class Locks { kNeeded, kWanted };

// False when the locks are needed and not all can be had.
bool read_state(State& state, Locks locks) {
  state = {};
  const heap::AllLocks all(0);
  if (locks == Locks::kNeeded && !all.are_held()) return false;
  state.is_at_rest = all.are_held() ? 1 : 0;
  state.committed_bytes = process_account.committed();
  state.in_use_peak = bytes_in_use.peak();
  state.committed_peak = process_account.peak();
  const large::Counts large = large::counts();
  const heap::Facts facts = heap::facts();
  state.metadata_bytes = pages::metadata_bytes();
  state.mapped_bytes = pages::mapped_bytes();
  const pages::PurgeCounts purges = pages::purge_counts();
  read_classes(state);
  read_threads(state);
  read_accounts(state);
  read_nodes(state);
  state.purges = purges.purges;
  state.purged_bytes = purges.purged_bytes;
  state.large_allocations = large.allocations;
  state.large_frees = large.frees;
  state.large_live_bytes = large.live_bytes;
  state.handler_allocations = facts.signal_allocations;
  state.handler_frees = facts.signal_frees;
  state.handler_live_bytes = facts.signal_bytes;
  const bump::Contents in_blocks = bump::contents_of_all();
  state.bump_allocations = thread_heap::bump_facts().allocations;
  state.bump_frees = at_least_zero(state.bump_allocations, in_blocks.live);
  state.bump_live_bytes = in_blocks.live_bytes;
  state.live_bytes += large.live_bytes + in_blocks.live_bytes + facts.signal_bytes;
  state.idle_bytes = at_least_zero(state.committed_bytes, state.live_bytes + state.pooled_bytes + state.depot_bytes +
                                                              state.metadata_bytes);
  state.hard_limit = process_account.hard_limit();
  state.soft_limit = process_account.soft_limit();
  const Account::Counts counts = process_account.counts();
  state.limit_hits = counts.hits;
  state.reclaimed_bytes = counts.reclaimed_bytes;
  state.refusals = counts.refusals;
  state.largest_refused = counts.largest_refused_bytes;
  state.double_frees = misuse::counts.double_frees.load(kRelaxed);
  state.invalid_frees = misuse::counts.invalid_frees.load(kRelaxed);
  state.foreign_pointers = misuse::counts.foreign_pointers.load(kRelaxed);
  return true;
}

// How much of a state is worth copying: rows that are not there stay out.
constexpr std::size_t kWordsBeforeRows = offsetof(State, accounts) / sizeof(std::uint64_t);

void copy_words(std::uint64_t* to, const std::uint64_t* from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) put(to[i], from[i]);
}

template <class Row>
void copy_rows(Row* to, const Row* from, std::uint64_t count) {
  copy_words(reinterpret_cast<std::uint64_t*>(to), reinterpret_cast<const std::uint64_t*>(from), count * (sizeof(Row) / sizeof(std::uint64_t)));
}

// By whoever has writing. Where another thread holds a lock, its own end of a slow path comes soon and writes what this one
// leaves; only a page that has gone without for long is written with numbers of different moments.
void write_state(std::uint64_t now) {
  const bool is_old = now - next_state.written_at_nanoseconds > kOldNanoseconds;
  const std::uint64_t written_at = next_state.written_at_nanoseconds;
  if (!read_state(next_state, is_old ? Locks::kWanted : Locks::kNeeded)) {
    next_state.written_at_nanoseconds = written_at;
    return;
  }
  next_state.written_at_nanoseconds = os::nanoseconds();
  std::uint64_t& sequence = page->header.sequence;
  std::uint64_t before = std::atomic_ref(sequence).load(kRelaxed);
  State& target = page->states[(before + 1) % 2];
  // release: the store of the last sequence comes before these, or a reader could take the state it names for whole
  // while it is written. Pairs with the reader's acquire fence between its copy and its second look at the sequence.
  std::atomic_thread_fence(std::memory_order_release);
  auto* const to = reinterpret_cast<std::uint64_t*>(&target);
  const auto* const from = reinterpret_cast<const std::uint64_t*>(&next_state);
  copy_words(to, from, kWordsBeforeRows);
  copy_rows(target.accounts, next_state.accounts, next_state.account_rows);
  copy_rows(target.nodes, next_state.nodes, next_state.node_rows);
  copy_rows(target.threads, next_state.threads, next_state.thread_rows);
  // release: pairs with the reader's acquire of the sequence. It fails only in a child of fork whose parent was in here: its
  // page goes on at another sequence, so that what was half written into the parent's page never counts.
  std::atomic_ref(sequence).compare_exchange_strong(before, before + 1, std::memory_order_release, kRelaxed);
}

bool may_afford(std::uint64_t now) { return paid_until.load(kRelaxed) <= now + kSavedNanoseconds; }

void pay(std::uint64_t begun, std::uint64_t ended) {
  const std::uint64_t paid = paid_until.load(kRelaxed);
  const std::uint64_t cost = ended - begun < kCostMostNanoseconds ? ended - begun : kCostMostNanoseconds;
  paid_until.store((paid < begun ? begun : paid) + cost * kShare, kRelaxed);
}

// relaxed throughout, but for `writing`: acquire and release hand next_state and the page from one writer to the next.
void write_if_affordable() {
  std::uint64_t now = os::nanoseconds();
  while (may_afford(now)) {
    if (writing.exchange(true, std::memory_order_acquire)) {
      write_again.store(true, kRelaxed);  // what this thread did may be too late for that writer
      return;
    }
    write_again.store(false, kRelaxed);
    if (os::process_id() != owner.load(kRelaxed)) {  // a fork that told nobody
      writing.store(false, std::memory_order_release);
      begin_in_child();
      return;
    }
    write_state(now);
    const std::uint64_t ended = os::nanoseconds();
    pay(now, ended);
    now = ended;
    writing.store(false, std::memory_order_release);
    if (!write_again.load(kRelaxed)) return;
  }
}

// At the end of a slow path, and when a thread has ended.
void observe() {
  if (is_shown.load(kRelaxed)) write_if_affordable();
}

const char* value_of(const char* const* environment, std::string_view name) {
  for (; environment != nullptr && *environment != nullptr; ++environment)
    if (std::strncmp(*environment, name.data(), name.size()) == 0 && (*environment)[name.size()] == '=')
      return *environment + name.size() + 1;
  return nullptr;
}

// False when the path is too long for its room.
bool set_path(char* room, std::size_t capacity, std::string_view first, std::string_view second) {
  Text text(room, capacity);
  text << first << second << '\0';
  return !text.is_full();
}

// The directory, open; negative with its path as the last one tried.
int open_directory(const char* const* environment) {
  const char* const runtime = value_of(environment, "XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/' && set_path(directory_path, sizeof directory_path, runtime, "/nebula"))
    if (const int directory = os::open_private_directory(directory_path); directory >= 0) return directory;
  TextOf<16> user;
  user.plain(os::user_id());
  if (!set_path(directory_path, sizeof directory_path, "/tmp/nebula-", user.view())) return -1;
  return os::open_private_directory(directory_path);
}

// Files of processes that ended without a word, of the same namespace: without this, a server that forks for each request
// would fill the directory.
void remove_if_left_over(const char* name, void* context) {
  const std::uint64_t& mine = *static_cast<const std::uint64_t*>(context);
  std::uint64_t numbers[2] = {};
  const char* at = name;
  for (std::uint64_t& number : numbers) {
    if (at != name && *at++ != '.') return;
    if (*at < '0' || *at > '9') return;
    for (; *at >= '0' && *at <= '9'; ++at) number = number * 10 + static_cast<std::uint64_t>(*at - '0');
  }
  if (*at != '\0' || numbers[1] != mine || os::life_of(static_cast<int>(numbers[0])).is_alive) return;
  TextOf<320> path;
  path << directory_path << '/' << name << '\0';
  if (!path.is_full()) os::remove_file(path.view().data());
}

// The file of this process at `where`; in a child over the parent's, which goes on from its sequence. 0 or an error.
int make_page(int directory, Address where, std::uint64_t sequence) {
  const int process = os::process_id();
  owner.store(process, kRelaxed);
  std::uint64_t process_namespace = os::process_namespace();
  TextOf<48> name;
  name.plain(static_cast<std::uint64_t>(process)) << '.';
  name.plain(process_namespace) << '\0';
  os::SharedFile file = {0, directory};
  if (directory >= 0) {
    os::visit_folder(directory_path, remove_if_left_over, &process_namespace);
    file = os::map_new_file(directory, name.view().data(), sizeof(Page), where);
    os::close_file(directory);
  }
  file_path[0] = '\0';
  if (file.address == 0) return file.error;
  Text path(file_path, sizeof file_path);
  path << directory_path << '/' << name.view();
  page = reinterpret_cast<Page*>(file.address);
  Header& header = page->header;
  header.layout_version = kLayoutVersion;
  header.page_bytes = sizeof(Page);
  header.process_id = static_cast<std::uint64_t>(process);
  header.started_at_nanoseconds = os::nanoseconds();
  Text program(header.program, sizeof header.program - 1);
  program << start_of(os::program_name(), sizeof header.program - 1);
  Text version(header.library_version, sizeof header.library_version - 1);
  version << start_of(NEBULA_VERSION, sizeof header.library_version - 1);
  std::atomic_ref(header.sequence).store(sequence, kRelaxed);
  // release: a reader that sees the magic number sees the rest of the header.
  std::atomic_ref(header.magic).store(kMagic, std::memory_order_release);
  is_shown.store(true, kRelaxed);
  if (const SlowPath slow; slow.entered()) write_if_affordable();
  return 0;
}

}  // namespace

void begin(const char* const* environment) {
  const int error = make_page(open_directory(environment), 0, 0);
  if (error == 0) {
    heap::set_observer(observe);
    return;
  }
  TextOf<512> line;
  line << "NEBULA_LIVE=1: no page can be made in " << directory_path << ": ";
  if (error == os::kNotPrivate) line << "it is not a directory of this user alone";
  else (line << "error ").plain(static_cast<std::uint64_t>(-error));
  say(line.view());
}

const char* path() { return file_path; }

void begin_in_child() {
  if (page == nullptr) return;
  is_shown.store(false, kRelaxed);
  // Whoever was writing into the parent's page is not here, or is this thread, which a signal interrupted: what it goes on
  // writing then must go nowhere, and not count.
  const std::uint64_t sequence = std::atomic_ref(page->header.sequence).load(kRelaxed) + 2;
  os::forget_file(reinterpret_cast<Address>(page), sizeof(Page));
  page->header.sequence = sequence;
  writing.store(false, kRelaxed);
  paid_until.store(0, kRelaxed);
  // Without a file the child is not shown; only its parent's user was promised one.
  static_cast<void>(make_page(os::open_private_directory(directory_path), reinterpret_cast<Address>(page), sequence));
}

void end() {
  // A child that nobody told of its fork must not take its parent's file away.
  if (!is_shown.load(kRelaxed) || os::process_id() != owner.load(kRelaxed)) return;
  is_shown.store(false, kRelaxed);
  os::remove_file(file_path);
}

}  // namespace nebula::live

#include "budget/thread_limits.hpp"

#include <cstddef>
#include <new>

#include "base/start_data.hpp"
#include "diag/pattern.hpp"
#include "os/process.hpp"

namespace nebula::thread_limits {

NEBULA_START_DATA constinit std::atomic<bool> any{false};
NEBULA_START_DATA constinit std::atomic<std::uint32_t> names_set{0};

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

struct Record {
  Account account;
  Owner owner;
  std::atomic<bool> is_new{false};
};

constinit config::NamedLimit rules[config::kNamedLimitsMost] = {};
constinit std::size_t rule_count = 0;
constinit config::AtLimit at_limit_of_all = {};
// Made when first used: what no thread needs is never touched.
alignas(Record) constinit std::byte room[kAccountsMost * sizeof(Record)] = {};
constinit std::atomic<unsigned> used{0};
constinit Account::Counts counted_before = {};
constinit std::atomic<std::uint64_t> threads_without{0};

Record& record(Id id) { return *reinterpret_cast<Record*>(room + (id - 1u) * sizeof(Record)); }

void set_owner(Record& record, Rule rule) {
  record.owner = {os::thread_id(), false, rule, record.account.committed(), {}};
  os::thread_name(record.owner.name);
  record.is_new.store(true, std::memory_order_release);  // pairs with the acquire in take_beginning: the owner is seen
  any_news.store(true, kRelaxed);
}

void begin_record(Record& record, Rule rule) {
  record.account.begin(config::AccountKind::kThread, rules[rule - 1].bytes, at_limit_of_all);
  set_owner(record, rule);
}

void forget_last_owner(Record& record) {
  counted_before.add(record.account.counts());
  record.account.forget_counts();
}

}  // namespace

void set(std::span<const config::NamedLimit> wanted, config::AtLimit at_limit) {
  rule_count = wanted.size();
  for (std::size_t i = 0; i < rule_count; ++i) rules[i] = wanted[i];
  at_limit_of_all = at_limit;
  any.store(rule_count != 0, kRelaxed);
}

// The main thread bears the program's name, and is called main as well.
Rule rule_of_this_thread() {
  char name[sizeof(Owner::name)] = {};
  os::thread_name(name);
  const bool is_main = os::thread_id() == os::process_id();
  for (std::size_t i = 0; i < rule_count; ++i)
    if (matches(name, rules[i].name) || (is_main && matches("main", rules[i].name))) return static_cast<Rule>(i + 1);
  return 0;
}

Account& account(Id id) { return record(id).account; }

Id id_of(const Account& account) {
  static_assert(offsetof(Record, account) == 0);
  return static_cast<Id>(reinterpret_cast<const Record*>(&account) - reinterpret_cast<const Record*>(room) + 1);
}

const Owner& owner_of(Id id) { return record(id).owner; }

// acquire: pairs with the release in begin_fresh, so that the records are seen whole.
unsigned count() { return used.load(std::memory_order_acquire); }

Id begin_fresh(Rule rule) {
  const unsigned before = used.load(kRelaxed);
  if (before == kAccountsMost) return 0;
  const auto id = static_cast<Id>(before + 1);
  begin_record(*new (&record(id)) Record, rule);
  used.store(id, std::memory_order_release);
  return id;
}

void begin_again(Id id, Rule rule) {
  forget_last_owner(record(id));
  begin_record(record(id), rule);
}

// The limits stay: others may be resizing what is left, and go by them.
void inherit(Id id) {
  forget_last_owner(record(id));
  set_owner(record(id), owner_of(id).rule);
}

bool can_be_inherited(Id id, Rule rule) {
  const Owner& owner = owner_of(id);
  return owner.has_ended && owner.rule == rule && account(id).committed() <= account(id).hard_limit() / 8;
}

bool take_beginning(Id id) {
  std::atomic<bool>& is_new = record(id).is_new;
  return is_new.load(kRelaxed) && is_new.exchange(false, std::memory_order_acquire);
}

void end(Id id) { record(id).owner.has_ended = true; }

Account::Counts past() { return counted_before; }

void count_without() { threads_without.fetch_add(1, kRelaxed); }

std::uint64_t without() { return threads_without.load(kRelaxed); }

}  // namespace nebula::thread_limits

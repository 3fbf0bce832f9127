#include "heap/news.hpp"

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/module_limits.hpp"
#include "budget/node_limits.hpp"
#include "budget/size_limits.hpp"
#include "budget/thread_limits.hpp"
#include "heap/heap.hpp"
#include "heap/purge_news.hpp"

namespace nebula::heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // listeners are functions, which were always there

NEBULA_START_DATA constinit std::atomic<BudgetListener> budget_listener{nullptr};
constinit std::atomic<PurgeListener> purge_listeners[2] = {};
constinit std::atomic<NewsListener> news_listener{nullptr};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> refused_by_system{0};

void tell_of(const BudgetEvent& event) {
  if (const BudgetListener listener = budget_listener.load(kRelaxed)) listener(event);
}

void tell_news_of(Account& account) {
  const Account::News news = account.take_news();
  if (news.soft) tell_of({account, BudgetEvent::What::kSoftLimit, 0});
  if (news.hard) tell_of({account, BudgetEvent::What::kHardLimit, 0});
}

void tell_of_purges() {
  if (purge_listeners[0].load(kRelaxed) == nullptr) return;
  for (unsigned i = 0; i < kPurgeReasons; ++i) {
    const std::uint64_t bytes = purge_news::take(static_cast<PurgeReason>(i));
    if (bytes == 0) continue;
    for (const std::atomic<PurgeListener>& each : purge_listeners)
      if (const PurgeListener listener = each.load(kRelaxed)) listener(static_cast<PurgeReason>(i), bytes);
  }
}

}  // namespace

namespace news {

void tell() {
  if (!any_news.load(kRelaxed) || in_slow_path || holds_every_lock || purge_news::Telling::is_telling) return;
  const purge_news::Telling telling;
  any_news.store(false, kRelaxed);
  tell_news_of(process_account);
  tell_news_of(tree_account);
  for (Account& account : node_limits::accounts()) tell_news_of(account);
  for (unsigned i = 1; i <= thread_limits::count(); ++i) tell_news_of(thread_limits::account(static_cast<thread_limits::Id>(i)));
  for (Account& account : size_limits::accounts()) tell_news_of(account);
  for (Account& account : module_limits::accounts()) tell_news_of(account);
  tell_of_purges();
  if (const NewsListener listener = news_listener.load(kRelaxed)) listener();
}

void note_refusal(const Request& request) {
  if (request.refusal == Request::Refusal::kBySystem) {
    refused_by_system.fetch_add(1, kRelaxed);
    return tell_of({process_account, BudgetEvent::What::kSystemRefusal, request.size});
  }
  const bool is_first = request.by->count_refusal(request.size);
  tell_of({*request.by, is_first ? BudgetEvent::What::kFirstRefusal : BudgetEvent::What::kRefusal, request.size});
}

std::uint64_t system_refusals() { return refused_by_system.load(kRelaxed); }

}  // namespace news

void set_budget_listener(BudgetListener listener) { budget_listener.store(listener, kRelaxed); }

void set_news_listener(NewsListener listener) { news_listener.store(listener, kRelaxed); }

void add_purge_listener(PurgeListener wanted) {
  for (std::atomic<PurgeListener>& place : purge_listeners) {
    PurgeListener found = nullptr;
    if (place.compare_exchange_strong(found, wanted, kRelaxed) || found == wanted) break;
  }
  purge_news::watch();
}

}  // namespace nebula::heap

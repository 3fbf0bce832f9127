// The accounts beside the process's, as rows of a report and of the live page.
#pragma once

#include "stats/snapshot.hpp"

namespace nebula::stats {

struct Accounts {
  AccountRow* rows;         // room for kAccountRows; in the order of the kinds
  unsigned& count;          // 0 before
  ThreadAccounts& threads;  // as it begins
};
void look_at_accounts(const Accounts& all);

}  // namespace nebula::stats

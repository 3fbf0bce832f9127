// What each workload includes. A workload is one file: a load as a template on `Calls`, the variants in which it is
// measured, and a main of one line.
//
//     template <class Calls> void run(const Options& options, Report& report) { ... }
//     int main(int count, char** words) { return start(count, words, {.name = ..., .plain = run<PlainCalls>, ...}); }
//
// An operation is one allocation with its release, unless the workload's file says otherwise. The amount of work
// follows from the arguments alone, so that the time is the measure; it does not depend on how threads interleave.
#pragma once

#include "../../common/memory.hpp"
#include "../../common/random.hpp"
#include "array.hpp"
#include "calls.hpp"
#include "options.hpp"
#include "report.hpp"
#include "threads.hpp"

namespace workload {

using namespace bench;

// Parses, lists or runs, prints.
int start(int count, char** words, const Program& program);

}  // namespace workload

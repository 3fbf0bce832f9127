// Where the variables lie that every start of a process writes: together, because a page that is touched for the first time costs more
// than all that is written to it.
#pragma once

#define NEBULA_START_DATA [[gnu::section("nebula_start")]]

// What runs once, at the start: short rather than fast, for the same reason.
#define NEBULA_START_CODE [[gnu::cold]]

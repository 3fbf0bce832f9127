// Where the variables lie that every start of a process writes: together, because a page that is touched for the first time costs more
// than all that is written to it.
#pragma once

#define NEBULA_START_DATA [[gnu::section("nebula_start")]]

// Likewise what a fork's child and a report write or read and the start does not.
#define NEBULA_LATER_DATA [[gnu::section("nebula_later")]]

// What runs once, at the start: short rather than fast, for the same reason.
#define NEBULA_START_CODE [[gnu::cold]]

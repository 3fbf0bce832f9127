// A library with nothing in it: preloading it costs what every preload costs, so that the rest is the allocator's.
extern int nothing_of_interest;
int nothing_of_interest;

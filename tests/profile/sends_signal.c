/* Keeps 4 MiB more and sends itself USR2, as often as the first argument says, each time waiting for the report; frees all of it. Then
   waits for as many seconds as the second says. With "lives": objects that live long, that live on, and that are freed at once. */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kSize = 1000, kRound = 4 * 1024 * 1024 / 1008 + 1 };

static void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

static void *objects[64 * kRound];

static void allocate(int from, int rounds) {
  for (int i = from * kRound; i < (from + rounds) * kRound; ++i)
    if ((objects[i] = hide(malloc(kSize))) == NULL) exit(3);
}

static void release(int from, int rounds) {
  for (int i = from * kRound; i < (from + rounds) * kRound; ++i) free(objects[i]);
}

/* How many files the profile's folder has: the name of it, up to its last '/', with a file for each form. */
static int files(void) {
  static char folder[1000];
  snprintf(folder, sizeof folder, "%s", getenv("NEBULA_PROFILE_FILE"));
  *strrchr(folder, '/') = '\0';
  DIR *const list = opendir(folder);
  int count = 0;
  for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;)
    count += entry->d_name[0] != '.' && strstr(entry->d_name, ".tmp") == NULL;
  if (list != NULL) closedir(list);
  return count;
}

int main(int count, char **arguments) {
  if (count < 3 && count != 2) return 2;
  const int signals = atoi(arguments[1]);
  const int for_each = getenv("NEBULA_PROFILE_FORM") != NULL && strcmp(getenv("NEBULA_PROFILE_FORM"), "collapsed") == 0 ? 2 : 1;
  for (int i = 0; i < signals; ++i) {
    allocate(i, 1);
    kill(getpid(), SIGUSR2);
    for (int wait = 0; files() < (i + 1) * for_each; ++wait) {
      if (wait == 2000) return 4;
      usleep(10000);
    }
    usleep(50000); /* a file that is begun under its own name is whole by then */
  }
  release(0, signals);
  if (count > 2) usleep((useconds_t)atoi(arguments[2]) * 1000000);
  if (count > 3 && strcmp(arguments[3], "lives") == 0) {
    allocate(0, 6);
    usleep(150000);
    release(0, 2);
    for (int i = 0; i < 2 * kRound; ++i) free(hide(malloc(kSize)));
  }
  return 0;
}

// Ends in the way that the first argument names, or stays for as many tenths of a second as the second says.
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int *volatile nowhere = (int *)16;

static int deep(int depth) {
  volatile char frame[1000];
  frame[0] = (char)depth;
  return deep(depth + 1) + frame[0];
}

static void say(const char *words) {
  if (write(STDOUT_FILENO, words, strlen(words)) < 0) _exit(99);
}

static void gives_up(int number) {
  say("handler\n");
  signal(number, SIG_DFL);
  raise(number);
}

static void ends(int number) {
  (void)number;
  say("handler\n");
  _exit(9);
}

static void aborts(int number) {
  (void)number;
  say("handler\n");
  abort();
}

static struct sigaction before;
static void passes_on(int number, siginfo_t *info, void *context) {
  say("handler\n");
  sigaction(number, &before, NULL);
  (void)info;
  (void)context;
}

static sigjmp_buf place;
static void recovers(int number) {
  say("handler\n");
  siglongjmp(place, number);
}

static void counts(int number) {
  (void)number;
  say("counted\n");
}

static void *crash(void *unused) {
  *nowhere = 1;
  return unused;
}

static void *churn(void *unused) {
  for (;;) free(malloc((size_t)(rand() % 5000)));
  return unused;
}

static void *open_and_close(void *unused) {
  for (;;) {
    void *library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) dlclose(library);
  }
  return unused;
}

static void start(void *(*run)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, NULL) != 0) exit(98);
}

static void spawn_under_loader(void) {
  start(open_and_close);
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      if (i % 2 == 0) _exit(0);
      execl("/bin/true", "true", (char *)NULL);
      _exit(97);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) _exit(96);
  }
}

static void vfork_ends(void) {
  const pid_t child = vfork();
  if (child == 0) _exit(0);
  waitpid(child, NULL, 0);
  const pid_t second = vfork();
  if (second == 0) {
    execl("/bin/true", "true", (char *)NULL);
    _exit(97);
  }
  waitpid(second, NULL, 0);
}

static int is(const char *argument, const char *name) { return strcmp(argument, name) == 0; }

int main(int count, char **arguments) {
  const char *how = count > 1 ? arguments[1] : "";
  void *volatile held = malloc(1000);
  if (is(how, "fault")) *nowhere = 1;
  if (is(how, "abort")) abort();
  if (is(how, "overflow")) return deep(0);
  if (is(how, "sent")) kill(getpid(), SIGSEGV);
  if (is(how, "thread")) {
    start(crash);
    pause();
  }
  if (is(how, "racing")) {
    for (int i = 0; i < 4; ++i) start(churn);
    usleep(100000);
    *nowhere = 1;
  }
  if (is(how, "two")) {
    start(crash);
    *nowhere = 1;
  }
  if (is(how, "double_free")) {
    void *volatile object = malloc(64);
    free(object);
    free(object);
  }
  if (is(how, "gives_up")) signal(SIGSEGV, gives_up);
  if (is(how, "ends")) signal(SIGSEGV, ends);
  if (is(how, "aborts")) signal(SIGSEGV, aborts);
  if (is(how, "recovers")) {
    signal(SIGSEGV, recovers);
    if (sigsetjmp(place, 1) == 0) *nowhere = 1;
  }
  if (is(how, "passes_on")) {
    struct sigaction action = {.sa_sigaction = passes_on, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, &before);
  }
  if (is(how, "gives_up") || is(how, "ends") || is(how, "aborts") || is(how, "passes_on")) *nowhere = 1;
  if (is(how, "default_is_default")) {
    struct sigaction now;
    if (sigaction(SIGSEGV, NULL, &now) != 0 || now.sa_handler != SIG_DFL || signal(SIGSEGV, SIG_DFL) != SIG_DFL) return 95;
  }
  if (is(how, "_exit")) _exit(3);
  if (is(how, "_Exit")) _Exit(3);
  if (is(how, "quick_exit")) quick_exit(3);
  if (is(how, "execl")) execl("/bin/true", "true", (char *)NULL);
  if (is(how, "execlp")) execlp("printf", "printf", "%s-%s-%s\n", "one", "two", "three", (char *)NULL);
  if (is(how, "execle")) {
    char *environment[] = {"ONLY=this", NULL};
    execle("/usr/bin/env", "env", (char *)NULL, environment);
  }
  if (is(how, "execv")) execv("/bin/true", (char *[]){"true", NULL});
  if (is(how, "execvp")) execvp("true", (char *[]){"true", NULL});
  if (is(how, "exec_fails")) execl("/no/such/program", "program", (char *)NULL);
  if (is(how, "vfork")) vfork_ends();
  if (is(how, "under_loader")) spawn_under_loader();
  if (is(how, "takes_signal")) signal(SIGUSR2, counts);
  if (is(how, "threads"))
    for (int i = 0; i < 3; ++i) start(churn);
  if (is(how, "fork")) {
    // The child is ready before its parent says so.
    int ends[2];
    char byte = 0;
    if (pipe(ends) != 0) return 94;
    const pid_t child = fork();
    if (child == 0) {
      if (write(ends[1], &byte, 1) != 1) _exit(93);
      for (;;) pause();
    }
    if (read(ends[0], &byte, 1) != 1) return 93;
    printf("%d\n", (int)child);
    fflush(stdout);
  }
  say("ready\n");
  if (count > 2)
    for (int i = atoi(arguments[2]); i > 0; --i) usleep(100000);
  free(held);
  return 0;
}

/* Takes memory until malloc refuses, with one or more threads at once: first pieces of 1 MiB, then ever smaller
   ones, all of them written to. Says how much it got, gives all of it back and ends with status 0, as a program
   that handles a refusal should. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct piece {
  struct piece *next;
  size_t size;
  unsigned char first, last;
};

struct share {
  struct piece *pieces;
  size_t bytes, refusals, damaged;
  int wrong_errno;
};

static pthread_barrier_t all_refused;

static unsigned char *last_byte(struct piece *piece)
{
  return (unsigned char *)piece + piece->size - 1;
}

static void take_all(struct share *share, size_t size)
{
  errno = 0;
  struct piece *piece;
  while ((piece = malloc(size)) != NULL) {
    memset(piece, (int)(share->bytes / size % 251), size);
    piece->next = share->pieces;
    piece->size = size;
    piece->first = (unsigned char)(size % 249);
    if (size > sizeof *piece) {
      *last_byte(piece) = piece->first;
    }
    share->pieces = piece;
    share->bytes += size;
  }
  share->refusals++;
  if (errno != ENOMEM) {
    share->wrong_errno = errno == 0 ? -1 : errno;
  }
}

static void *work(void *argument)
{
  struct share *share = argument;
  static const size_t sizes[] = {1 << 20, 100000, 20000, 3000, 200, sizeof(struct piece)};
  for (size_t place = 0; place < sizeof sizes / sizeof sizes[0]; place++) {
    take_all(share, sizes[place]);
  }
  pthread_barrier_wait(&all_refused);
  while (share->pieces != NULL) {
    struct piece *piece = share->pieces;
    share->pieces = piece->next;
    if (piece->first != piece->size % 249 || (piece->size > sizeof *piece && *last_byte(piece) != piece->first)) {
      share->damaged++;
    }
    free(piece);
  }
  return NULL;
}

int main(int argc, char **argv)
{
  static char output[4096];
  setvbuf(stdout, output, _IOFBF, sizeof output);

  enum { most_threads = 64 };
  static struct share shares[most_threads];
  pthread_t threads[most_threads];
  int count = argc > 1 ? atoi(argv[1]) : 1;
  if (count < 1 || count > most_threads) {
    fprintf(stderr, "usage: greedy [THREADS]\n");
    return 2;
  }
  pthread_barrier_init(&all_refused, NULL, (unsigned)count);
  for (int place = 1; place < count; place++) {
    int error = pthread_create(&threads[place], NULL, work, &shares[place]);
    if (error != 0) {
      fprintf(stderr, "pthread_create: %s\n", strerror(error));
      return 1;
    }
  }
  work(&shares[0]);

  struct share sum = shares[0];
  for (int place = 1; place < count; place++) {
    pthread_join(threads[place], NULL);
    sum.bytes += shares[place].bytes;
    sum.refusals += shares[place].refusals;
    sum.damaged += shares[place].damaged;
    sum.wrong_errno |= shares[place].wrong_errno;
  }
  printf("bytes %zu\nrefusals %zu\n", sum.bytes, sum.refusals);
  if (sum.wrong_errno != 0 || sum.damaged != 0) {
    fprintf(stderr, "errno at a refusal %d, pieces damaged %zu\n", sum.wrong_errno, sum.damaged);
    return 1;
  }
  /* What was given back can be had again. */
  void *again = malloc(sum.bytes / 2);
  if (again == NULL) {
    fprintf(stderr, "half of what was given back cannot be had again\n");
    return 1;
  }
  free(again);
  return 0;
}

/* Nebula, a drop-in malloc: what a program that knows of it may call.
 *
 * Every function is declared weak: a program that uses it links and runs without libnebula.so too, and finds the
 * address null. Call only after checking, for example `if (nebula_version) puts(nebula_version());`. */
#ifndef NEBULA_NEBULA_H
#define NEBULA_NEBULA_H

#ifdef __cplusplus
extern "C" {
#endif

/* "major.minor.patch", a constant. Never fails; safe everywhere. */
const char *nebula_version(void) __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif

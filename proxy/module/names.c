#define _GNU_SOURCE
#include "module.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../names/names.h"

// The table that the resolver keeps. It is asked once for a connection, so a lock that
// readers share is cheap enough; the one who replaces the table holds it for a few stores.
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct pavise_names table;
static const char *path;
static int failed; // errno of the latest attempt

void pv_names_look(void) {
  if (!path) {
    path = getenv("PAVISE_NAMES");
    if (path && (path = strdup(path)) == NULL) return;
  }
  if (!path || !*path || !pavise_names_stale(&table, path)) return;
  struct pavise_names next;
  int err = pavise_names_open(&next, path);
  if (err != 0) {
    if (err == failed) return;
    failed = err;
    char why[256], text[600];
    int n = snprintf(text, sizeof text, "pavise: the table of names %.200s is not read (%s): connections have %s names", path,
                     err == EPROTO ? "it is none that this version knows" : strerror_r(err, why, sizeof why),
                     table.map ? "the old table's" : "no");
    if (n > 0) pv_log(ABI_LOG_WARN, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    return;
  }
  failed = 0;
  pthread_rwlock_wrlock(&lock);
  struct pavise_names old = table;
  table = next;
  pthread_rwlock_unlock(&lock);
  pavise_names_close(&old); // whoever looked it up held the lock
}

size_t pv_names(const struct pv_addr *a, char *out, size_t room) {
  uint8_t b[16];
  uint64_t hi = a->hi, lo = a->family == 4 ? UINT64_C(0xffff) << 32 | a->lo : a->lo;
  for (int i = 8; i-- > 0; hi >>= 8, lo >>= 8) b[i] = (uint8_t)hi, b[i + 8] = (uint8_t)lo;
  pthread_rwlock_rdlock(&lock);
  size_t n = pavise_names_lookup(&table, b, out, room);
  pthread_rwlock_unlock(&lock);
  return n;
}
